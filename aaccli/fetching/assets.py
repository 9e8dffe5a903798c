"""What aac fetches, in one table: names, addresses, sizes, checksums, licences.

Checksums and addresses are those of the publishers: Zenodo's records 3987831 (PANNs), 3490684 and 4783391 (Clotho 1 and
2.1). Stanford publishes none for CoreNLP: the CRC of what is taken from its zip is checked instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError


@dataclass(frozen=True)
class Asset:
    """One file to fetch."""

    file: str  # its name, here and there
    url: str
    size: int  # bytes
    exact: bool = True  # False: the size is only about this, for progress and room on the disk
    md5: str = ""
    sha256: str = ""

    @property
    def checksums(self) -> dict[str, str]:
        """Those that are known, by algorithm."""
        return {name: value for name, value in (("md5", self.md5), ("sha256", self.sha256)) if value}


@dataclass(frozen=True)
class Item:
    """What one name of ``aac download`` stands for."""

    name: str
    about: str
    licence: str
    files: tuple[Asset, ...]

    def by_hand(self, asset: Asset) -> str:
        """How to go on without this machine's network."""
        known = "".join(f", {name} {value}" for name, value in asset.checksums.items())
        place = "FOLDER that holds it" if len(self.files) > 1 else "FILE"
        return f"bring {asset.file} yourself ({asset.url}{known}) and type: aac download {self.name} --from {place}"


def _zenodo(record: int, file: str, size: int, md5: str, sha256: str = "", exact: bool = True) -> Asset:
    address = f"https://zenodo.org/record/{record}/files/{file.replace('=', '%3D')}?download=1"
    return Asset(file, address, size, exact, md5, sha256)


CNN10 = Item(
    "cnn10",
    "CNN10 of PANNs, trained on AudioSet (mAP 0.380): where the paper's encoder starts from",
    "CC BY 4.0",
    (
        _zenodo(
            3987831,
            "Cnn10_mAP=0.380.pth",
            25_237_595,
            "bfb1f1f9968938fa8ef4012b8471f5f6",
            "5240bdc47444e331bbeb54fd741d2b3f933a4526e84b0c17bf3593df94b13962",
        ),
    ),
)

# The jars that SPICE 1.0 looks for, and all that is kept of the zip.
SPICE_JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
SPICE = Item(
    "spice",
    "Stanford CoreNLP 3.6.0 with its models, which the SPICE score parses captions with",
    "GPL-3.0-or-later",
    (
        Asset(
            "stanford-corenlp-full-2015-12-09.zip",
            "https://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip",
            536_000_000,
            exact=False,
        ),
    ),
)


@dataclass(frozen=True)
class ClothoSplit:
    """The files of one split of Clotho."""

    name: str
    captions: Asset
    audio: Asset
    unpacked: int  # bytes, about


_EVALUATION = "4569624ccadf96223f19cb59fe4f849f", "1b16b9e57cf7bdb7f13a13802aeb57e2"


def _evaluation(record: int) -> ClothoSplit:
    audio, captions = _EVALUATION
    return ClothoSplit(
        "evaluation",
        _zenodo(record, "clotho_captions_evaluation.csv", 370_000, captions, exact=False),
        _zenodo(record, "clotho_audio_evaluation.7z", 1_200_000_000, audio, exact=False),
        2_000_000_000,
    )


CLOTHO = {
    "v2.1": (
        ClothoSplit(
            "development",
            _zenodo(4783391, "clotho_captions_development.csv", 1_336_762, "d4090b39ce9f2491908eebf4d5b09bae"),
            _zenodo(4783391, "clotho_audio_development.7z", 4_541_582_263, "c8b05bc7acdb13895bb3c6a29608667e"),
            7_100_000_000,
        ),
        ClothoSplit(
            "validation",
            _zenodo(4783391, "clotho_captions_validation.csv", 367_649, "5879e023032b22a2c930aaa0528bead4"),
            _zenodo(4783391, "clotho_audio_validation.7z", 1_260_701_425, "7dba730be08bada48bd15dc4e668df59"),
            2_000_000_000,
        ),
        _evaluation(4783391),
    ),
    "v1": (
        ClothoSplit(
            "development",
            _zenodo(
                3490684, "clotho_captions_development.csv", 1_000_000, "dd568352389f413d832add5cf604529f", "", False
            ),
            _zenodo(
                3490684, "clotho_audio_development.7z", 3_400_000_000, "e3ce88561b317cc3825e8c861cae1ec6", "", False
            ),
            5_400_000_000,
        ),
        _evaluation(3490684),
    ),
}


def clotho(version: str, splits: tuple[str, ...] = ()) -> tuple[Item, tuple[ClothoSplit, ...]]:
    """Clotho's files of a version; without ``splits``, of all of them.

    Raises
    ------
    ConfigError
        No such version, or it has no such split.
    """
    if version not in CLOTHO:
        raise ConfigError(f"--version {version}: Clotho's versions here are {', '.join(CLOTHO)}")
    there = {split.name: split for split in CLOTHO[version]}
    unknown = [name for name in splits if name not in there]
    if unknown:
        raise ConfigError(f"--split {unknown[0]}: Clotho {version} has {', '.join(there)}")
    chosen = tuple(split for split in there.values() if not splits or split.name in splits)
    files = tuple(file for split in chosen for file in (split.captions, split.audio))
    item = Item(
        "clotho",
        f"Clotho {version}: recordings with five captions each, the paper's data",
        "recordings: a Creative Commons licence each; captions: Tampere University's, non-commercial",
        files,
    )
    return item, chosen


@dataclass(frozen=True)
class Cached:
    """An item that lives in the cache, and the files that make it whole there."""

    item: Item
    files: tuple[str, ...]

    def folder(self, cache: Path) -> Path:
        return cache / self.item.name


CACHED = {
    "cnn10": Cached(CNN10, (CNN10.files[0].file,)),
    "spice": Cached(SPICE, SPICE_JARS),
}
