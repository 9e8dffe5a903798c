"""Clotho from Zenodo into a folder that ``aac train --clotho`` takes.

Of each split: the captions, then the archive, checked, unpacked beside its place, moved there, looked at. A step that
is done is not done again, whatever ended the run before.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError, FetchError
from ..fetching.archives import staged, unpack_7z
from ..fetching.assets import Asset, ClothoSplit, Item
from ..fetching.download import adopt, fetch, is_whole, locked
from ..watching import Progress, Watch, nobody

SAMPLE = 20  # recordings of a split that are read to the end


@dataclass(frozen=True)
class ClothoPlan:
    """What is to be had, and where."""

    item: Item
    splits: tuple[ClothoSplit, ...]
    folder: Path
    source: Path | None = None  # a folder with the files that the user brought; they are left there
    keep: bool = False  # the archives, once they are unpacked


def missing(plan: ClothoPlan) -> list[Asset]:
    """The files that are still to come; looks at names only."""
    files = []
    for split in plan.splits:
        if not (plan.folder / split.captions.file).is_file():
            files.append(split.captions)
        if not (plan.folder / split.name).is_dir() and not (plan.folder / split.audio.file).is_file():
            files.append(split.audio)
    return files


def bring(plan: ClothoPlan, watch: Watch = nobody) -> dict[str, int]:
    """Fetch, check, unpack and look at the splits; returns how many recordings each has.

    Raises
    ------
    FetchError
        A file cannot be had, is not the right one, or cannot be unpacked.
    DataError
        The folder holds another version of Clotho, or recordings that cannot be read.
    """
    counts = {}
    for split in plan.splits:
        captions = _captions(plan, split, watch)
        sounds = plan.folder / split.name
        with locked(sounds, watch):
            if not sounds.is_dir():
                archive = _have(plan, split.audio, watch)
                _unpack(archive, split, sounds, watch)
            kept = plan.folder / split.audio.file
            if not plan.keep and kept.is_file():
                kept.unlink()
        counts[split.name] = _look_at(captions, sounds, watch)
    return counts


def _captions(plan: ClothoPlan, split: ClothoSplit, watch: Watch) -> Path:
    target = plan.folder / split.captions.file
    if target.is_file() and not is_whole(split.captions, target):
        raise DataError(
            f"{target}: is there and not the captions of this version; choose another folder with --to, "
            "or remove it if it is damaged"
        )
    if target.is_file():
        return target
    if plan.source:
        return adopt(plan.item, split.captions, plan.source / split.captions.file, target, watch)
    return fetch(plan.item, split.captions, target, watch)


def _have(plan: ClothoPlan, asset: Asset, watch: Watch) -> Path:
    """The checked archive: the one that the user brought where it lies, else in the folder, fetched if need be."""
    if not plan.source:
        return fetch(plan.item, asset, plan.folder / asset.file, watch)
    brought = plan.source / asset.file
    if not is_whole(asset, brought, watch):
        what = "is not the file that Zenodo has" if brought.is_file() else "no such file"
        raise FetchError(f"{brought}: {what}; {plan.item.by_hand(asset)}")
    return brought


def _unpack(archive: Path, split: ClothoSplit, sounds: Path, watch: Watch) -> None:
    """Unpack an archive and move its recordings to ``sounds``, at whatever depth they lie in it."""
    box = sounds.with_name(f".{split.name}.unpacked")
    try:
        with staged(box) as fresh:
            unpack_7z(archive, fresh, watch)
        folders = sorted({path.parent for path in box.rglob("*.wav")})
        if len(folders) != 1:
            raise DataError(f"{archive}: recordings in {len(folders)} folders, one was expected")
        folders[0].rename(sounds)
    except OSError as error:
        raise FetchError(f"{sounds}: {error.strerror or error}; free some room or choose another --to") from error
    finally:
        shutil.rmtree(box, ignore_errors=True)


def _look_at(captions: Path, sounds: Path, watch: Watch) -> int:
    """Match captions with recordings, and read some of these to the end; returns how many there are."""
    import soundfile

    from .clips import read_captions

    clips = read_captions(captions, sounds)
    chosen: Sequence[int] = range(0, len(clips), max(1, len(clips) // SAMPLE))
    for done, i in enumerate(chosen, start=1):
        watch(Progress(sounds.name, done, len(chosen), "reading a sample"))
        try:
            samples, _ = soundfile.read(clips[i].path)
        except (OSError, RuntimeError) as error:  # soundfile's errors are RuntimeErrors
            raise DataError(f"{clips[i].path}: cannot be read ({error}); remove {sounds} and run again") from error
        if not len(samples):
            raise DataError(f"{clips[i].path}: holds no sound; remove {sounds} and run again")
    return len(clips)
