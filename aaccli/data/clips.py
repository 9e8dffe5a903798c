"""Captioned recordings, and batches of examples to train on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .. import audio
from ..errors import DataError
from ..files.table import read_table
from ..files.within import find_within
from ..model.captioner import PAD, CaptionerNet
from ..model.features import FrontEndConfig, LogMel
from ..vocabulary import Vocabulary
from .augment import DegradeConfig, degrade
from .featurecache import FeatureCache
from .soundscapes import Composer

SPLITS = ("development", "validation", "evaluation")
# aac-datasets' folder for each version of Clotho, newest first.
VERSIONS = ("CLOTHO_v2.1", "CLOTHO_v2", "CLOTHO_v1")
# Of soundscapes, whose level and noise floor differ already.
DEGRADE = DegradeConfig(gain=0.3, gain_db=20.0, noise=0.25)


@dataclass(frozen=True)
class Clip:
    """One recording and what people said of it."""

    path: Path
    captions: tuple[str, ...]
    seconds: float = 0.0  # 0: not measured

    @property
    def is_there(self) -> bool:
        """Whether there is such a file; there is none of a name too long for one, as a caption in its place is."""
        try:
            return self.path.is_file()
        except OSError:
            return False


def read_clotho(directory: Path, missing_ok: bool = False) -> dict[str, list[Clip]]:
    """Find the splits of Clotho in a folder, as its archives unpack or as aac-datasets lays it out.

    With ``missing_ok``, recordings need not be there.

    Returns
    -------
    dict
        Split name to clips, at least ``development``; ``validation`` is missing in version 1.

    Raises
    ------
    DataError
        No development split, or one whose csv or recordings are not as they should be.
    """
    for captions, sounds in _clotho_layouts(directory):
        csvs = {split: captions / f"clotho_captions_{split}.csv" for split in SPLITS}
        if csvs["development"].is_file():
            return {
                split: read_captions(path, _split_folder(sounds, split), missing_ok)
                for split, path in csvs.items()
                if path.is_file()
            }
    raise DataError(
        f"{directory}: no Clotho here; clotho_captions_development.csv was looked for in it and in "
        f"{', '.join(f'{version}/clotho_csv_files' for version in VERSIONS)}"
    )


def find_clotho(directory: Path, split: str) -> tuple[Path, Path] | None:
    """The csv of a split of Clotho and the folder of its recordings; None where the folder does not hold it."""
    for captions, sounds in _clotho_layouts(directory):
        path = captions / f"clotho_captions_{split}.csv"
        if os.path.isfile(path):  # noqa: PTH113 (Path's own raises where a folder may not be entered)
            return path, _split_folder(sounds, split)
    return None


def _clotho_layouts(directory: Path) -> Iterator[tuple[Path, Path]]:
    """Folders of (csv files, folders of splits)."""
    yield directory, directory
    for root in (directory, *(directory / version for version in VERSIONS)):
        yield root / "clotho_csv_files", root / "clotho_audio_files"


def _split_folder(sounds: Path, split: str) -> Path:
    # The archive of one split unpacks into a folder of its own name, sometimes kept as a level of its own.
    named = sounds / f"clotho_audio_{split}" / split
    return named if named.is_dir() else sounds / split


def read_captions(path: Path, folder: Path, missing_ok: bool = False) -> list[Clip]:
    """Read a csv of captions: ``file_name`` and ``caption_1``, ``caption_2``, ... or one ``caption`` a row.

    Rows of the same file are put together. Empty captions are left out. Where AudioCaps' own csv has ``youtube_id``
    (and ``start_time``) in the place of a file name, the recording is looked for by the names that its downloaders
    give: ID_START, ID, YID, with any suffix. With ``missing_ok``, recordings need not be there.

    Raises
    ------
    DataError
        The csv or a column is missing, no row has a caption, a name leads out of the folder, or recordings are missing.
    """
    header, rows = read_table(path)
    columns = [c for c in header.values if c == "caption" or c.startswith("caption_")]
    if not header.values.keys() & {"file_name", "youtube_id"} or not columns:
        raise DataError(
            f"{header.where}: columns file_name and caption_1, caption_2, ... (or caption) were expected{header.has()}"
        )
    name_of = _file_name if "file_name" in header.values else _audiocaps_names(folder)
    places: dict[str, Path] = {}
    said: dict[Path, list[str]] = {}
    for row in rows:
        name = name_of(row.values)
        if not name:
            raise DataError(f"{row.where}: has no file_name")
        if name not in places:
            places[name] = _place(folder, name, row.where)
        said.setdefault(places[name], []).extend(c for c in map(row.values.get, columns) if c and c.strip())
    clips = [Clip(place, tuple(captions)) for place, captions in said.items() if captions]
    if not clips:
        raise DataError(f"{path}: holds no caption")
    missing = [] if missing_ok else [clip.path for clip in clips if not clip.is_there]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(clips)} recordings are missing in {folder}, first {missing[0].name}"
        )
    return clips


def _place(folder: Path, name: str, where: str) -> Path:
    try:
        return find_within(folder, name)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _file_name(row: Mapping[str, str]) -> str:
    return row["file_name"]


def _audiocaps_names(folder: Path) -> Callable[[Mapping[str, str]], str]:
    """The file name of a row of AudioCaps, as far as it is in the folder."""
    try:
        files = {path.stem: path.name for path in sorted(folder.iterdir()) if audio.is_sound_file(path)}
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from error

    def name_of(row: Mapping[str, str]) -> str:
        video, start = row["youtube_id"], row.get("start_time") or ""
        stems = (f"{video}_{start}", f"Y{video}_{start}", video, f"Y{video}")
        return next((files[stem] for stem in stems if stem in files), video and f"{stems[0]}.wav")

    return name_of


def hold_out(clips: Sequence[Clip], share: float, seed: int) -> tuple[list[Clip], list[Clip]]:
    """Split off a share of clips, at least one, to validate with where a data set has no such split."""
    if len(clips) < 2:
        raise DataError("one clip is too few to hold out any; give --validation-csv")
    order = np.random.default_rng(seed).permutation(len(clips))
    held = set(order[: min(len(clips) - 1, max(1, round(share * len(clips))))].tolist())
    return [c for i, c in enumerate(clips) if i not in held], [c for i, c in enumerate(clips) if i in held]


@dataclass(frozen=True)
class Example:
    """One clip and some of its captions."""

    frames: Tensor  # (T, D): log-mel frames, or CNN10's sequence where CNN10 is frozen
    captions: tuple[tuple[int, ...], ...]  # ids from START to END, the same number in all examples of a source


@dataclass(frozen=True)
class Batch:
    """Examples padded to one length."""

    frames: Tensor  # (B, T, D), zeros beyond each clip
    lengths: Tensor  # (B,) frames of each clip
    captions: Tensor  # (B * C, L) ids, PAD after END; C captions a clip, a clip's own in a row

    def to(self, device: torch.device) -> Batch:
        return Batch(self.frames.to(device), self.lengths.to(device), self.captions.to(device))


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples to the longest of them."""
    captions = [torch.tensor(ids) for example in examples for ids in example.captions]
    return Batch(
        pad_sequence([example.frames for example in examples], batch_first=True),
        torch.tensor([len(example.frames) for example in examples]),
        pad_sequence(captions, batch_first=True, padding_value=PAD),
    )


class Examples(Protocol):
    """Examples by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


class Source(Protocol):
    """Something that gives the examples of an epoch, the same for the same epoch."""

    def epoch(self, number: int) -> Examples: ...

    def lengths(self) -> Sequence[float] | None:
        """Of each example, the same in every epoch; None where they are known only once it is decoded."""

    def references(self) -> list[tuple[str, ...]]:
        """All that people said of the clip of each example of the first epoch."""


class ClipSource:
    """Recordings from disk: each clip with one or more of its captions, in an epoch all of them."""

    def __init__(
        self,
        clips: Sequence[Clip],
        vocabulary: Vocabulary,
        front_end: FrontEndConfig,
        seconds: float,
        group: int,
        cache: FeatureCache | None = None,
    ) -> None:
        self.logmel = LogMel(front_end)
        self.seconds = seconds
        self.cache = cache
        self.items = [
            (clip, tuple(tuple(vocabulary.encode(caption)) for caption in captions))
            for clip in clips
            for captions in _groups(clip.captions, group)
        ]

    def epoch(self, number: int) -> Examples:
        return self

    def lengths(self) -> Sequence[float] | None:
        seconds = [min(clip.seconds, self.seconds) for clip, _ in self.items]
        return seconds if all(seconds) else None

    def references(self) -> list[tuple[str, ...]]:
        return [clip.captions for clip, _ in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Example:
        clip, captions = self.items[index]
        if self.cache is None:
            return Example(self._frames(clip.path), captions)
        return Example(self.cache.get(clip.path, self.logmel.config, self.seconds, self._frames), captions)

    def _frames(self, path: Path) -> Tensor:
        return self.logmel(audio.read(path, self.logmel.config.sample_rate, self.seconds).waveform)


def _groups(captions: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Captions in groups of one size; the last group takes the first captions again to fill up."""
    cycle = [captions[i % len(captions)] for i in range(-(-len(captions) // size) * size)]
    return [tuple(cycle[i : i + size]) for i in range(0, len(cycle), size)]


class SoundscapeSource:
    """Soundscapes, composed when they are asked for: other ones every epoch, and degraded, unless fixed."""

    def __init__(
        self, composer: Composer, vocabulary: Vocabulary, front_end: FrontEndConfig, count: int, seed: int, fixed: bool
    ) -> None:
        self.composer = composer
        self.vocabulary = vocabulary
        self.logmel = LogMel(front_end)
        self.count = count
        self.seed = seed
        self.fixed = fixed

    def epoch(self, number: int) -> Examples:
        return _Soundscapes(self, 0 if self.fixed else number)

    def lengths(self) -> None:
        return None

    def references(self) -> list[tuple[str, ...]]:
        return [self.composer.compose(self.seed, 0, index).captions for index in range(self.count)]


class _Soundscapes:
    def __init__(self, source: SoundscapeSource, number: int) -> None:
        self.source = source
        self.number = number

    def __len__(self) -> int:
        return self.source.count

    def __getitem__(self, index: int) -> Example:
        source = self.source
        soundscape = source.composer.compose(source.seed, self.number, index)
        captions = tuple(tuple(source.vocabulary.encode(caption)) for caption in soundscape.captions)
        frames = source.logmel(soundscape.waveform)
        if not source.fixed:
            frames = degrade(frames, np.random.default_rng([source.seed, self.number, index, 1]), DEGRADE)
        return Example(frames, captions)


def draw_seed(*numbers: int) -> int:
    """A seed for PyTorch of any tuple of non-negative numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class HeardSource:
    """Another source through a frozen CNN10, whose output is kept for some epochs."""

    def __init__(
        self,
        source: Source,
        net: CaptionerNet,
        keep_epochs: int,
        augment: bool,
        on_heard: Callable[[int, int], None] = lambda done, total: None,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.seed = seed
        self.on_heard = on_heard
        self.net = net
        self.keep_epochs = keep_epochs
        self.augment = augment
        self.held: tuple[int, list[Example]] | None = None

    def epoch(self, number: int) -> Examples:
        """Listen to what ``source`` gives in every ``keep_epochs``-th epoch; in memory: 2 KB a frame."""
        first = number // self.keep_epochs
        if self.held is None or self.held[0] != first:
            examples = self.source.epoch(first)
            held = []
            for i in range(len(examples)):
                example = examples[i]
                torch.manual_seed(draw_seed(self.seed, first, i))  # of the masks: as in a run never interrupted
                held.append(self._listen(example))
                self.on_heard(i + 1, len(examples))
            self.held = (first, held)
        return self.held[1]

    def lengths(self) -> Sequence[float] | None:
        return self.source.lengths()

    def references(self) -> list[tuple[str, ...]]:
        return self.source.references()

    @torch.no_grad()
    def _listen(self, example: Example) -> Example:
        cnn10 = self.net.cnn10.eval()
        cnn10.spec_augment.train(self.augment)
        heard, _ = cnn10(example.frames[None].to(self.net.device))
        cnn10.spec_augment.eval()
        return Example(heard[0].cpu(), example.captions)
