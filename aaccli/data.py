"""Captioned recordings, and batches of examples to train on."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from . import audio
from .augment import DegradeConfig, degrade
from .errors import DataError
from .model.captioner import PAD, CaptionerNet
from .model.features import FrontEndConfig, LogMel
from .soundscapes import Composer
from .vocabulary import Vocabulary

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


def read_clotho(directory: Path) -> dict[str, list[Clip]]:
    """Find the splits of Clotho in a folder, as its archives unpack or as aac-datasets lays it out.

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
                split: read_captions(path, _split_folder(sounds, split))
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
        if path.is_file():
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


def read_captions(path: Path, folder: Path) -> list[Clip]:
    """Read a csv of captions: ``file_name`` and ``caption_1``, ``caption_2``, ... or one ``caption`` a row.

    Rows of the same file are put together. Empty captions are left out.

    Raises
    ------
    DataError
        The csv or a column is missing, no row has a caption, or recordings are missing.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [c for c in reader.fieldnames or () if c == "caption" or c.startswith("caption_")]
            if "file_name" not in (reader.fieldnames or ()) or not columns:
                raise DataError(f"{path}: columns file_name and caption_1, caption_2, ... (or caption) were expected")
            said: dict[str, list[str]] = {}
            for row in reader:
                if not row["file_name"]:
                    raise DataError(f"{path}: line {reader.line_num} has no file_name")
                said.setdefault(row["file_name"], []).extend(c for c in map(row.get, columns) if c and c.strip())
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a UTF-8 csv file ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    clips = [Clip(folder / name, tuple(captions)) for name, captions in said.items() if captions]
    if not clips:
        raise DataError(f"{path}: holds no caption")
    missing = [clip.path for clip in clips if not clip.path.is_file()]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(clips)} recordings are missing in {folder}, first {missing[0].name}"
        )
    return clips


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


def batches(examples: Examples, order: Sequence[int], size: int) -> Iterator[Batch]:
    """Batches of up to ``size`` examples in an order."""
    for start in range(0, len(order), size):
        yield collate([examples[i] for i in order[start : start + size]])


class ClipSource:
    """Recordings from disk: each clip with one or more of its captions, in an epoch all of them."""

    def __init__(
        self, clips: Sequence[Clip], vocabulary: Vocabulary, front_end: FrontEndConfig, seconds: float, group: int
    ) -> None:
        self.logmel = LogMel(front_end)
        self.seconds = seconds
        self.items = [
            (clip.path, tuple(tuple(vocabulary.encode(caption)) for caption in captions))
            for clip in clips
            for captions in _groups(clip.captions, group)
        ]

    def epoch(self, number: int) -> Examples:
        return self

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Example:
        path, captions = self.items[index]
        rate = self.logmel.config.sample_rate
        return Example(self.logmel(audio.read(path, rate, self.seconds).waveform), captions)


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


class HeardSource:
    """Another source through a frozen CNN10, whose output is kept for some epochs."""

    def __init__(
        self,
        source: Source,
        net: CaptionerNet,
        keep_epochs: int,
        augment: bool,
        on_heard: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.source = source
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
                held.append(self._listen(examples[i]))
                self.on_heard(i + 1, len(examples))
            self.held = (first, held)
        return self.held[1]

    @torch.no_grad()
    def _listen(self, example: Example) -> Example:
        cnn10 = self.net.cnn10.eval()
        cnn10.spec_augment.train(self.augment)
        heard, _ = cnn10(example.frames[None].to(self.net.device))
        cnn10.spec_augment.eval()
        return Example(heard[0].cpu(), example.captions)
