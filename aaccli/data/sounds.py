"""Labelled recordings: a folder with ``manifest.csv``, or one folder a label."""

from __future__ import annotations

import math
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import audio
from ..errors import AudioError, DataError
from ..files.table import Row, read_table
from ..files.within import find_within
from .phrases import PhraseBook

SILENCE = "silence"  # the label that needs no recording
FOLDS = 5  # recordings that name no fold are spread over as many, by their file's name


@dataclass(frozen=True)
class Recording:
    """One labelled sound file."""

    path: Path
    label: str
    fold: int  # recordings of one source share a fold, so that none is trained on and measured on


def read_sounds(directory: Path) -> list[Recording]:
    """List the labelled recordings of a folder.

    Either ``manifest.csv`` (columns ``file`` and ``label``, optionally ``fold``, any others are
    left alone) or one folder a label.

    Raises
    ------
    DataError
        The folder holds neither, or the manifest lacks a column or names no file.
    """
    manifest = directory / "manifest.csv"
    if manifest.is_file():
        return _read_manifest(manifest)
    if not directory.is_dir():
        raise DataError(f"{directory}: no such folder; --sounds takes a folder of labelled recordings")
    found = [
        _recording(directory, path.relative_to(directory).as_posix(), folder.name, "")
        for folder in sorted(directory.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
        for path in sorted(folder.rglob("*"))
        if audio.is_sound_file(path) and path.is_file() and not _hidden(path.relative_to(folder))
    ]
    if not found:
        raise DataError(f"{directory}: holds neither manifest.csv (columns file, label) nor folders of sound files")
    return found


def _read_manifest(manifest: Path) -> list[Recording]:
    header, every = read_table(manifest)
    missing = {"file", "label"} - header.values.keys()
    if missing:
        raise DataError(f"{header.where}: no column {' or '.join(sorted(missing))}{header.has()}")
    found = [
        _named(manifest.parent, row) for row in every if row.values["file"].strip() and row.values["label"].strip()
    ]
    if not found:
        raise DataError(f"{manifest}: names no recording")
    return found


def _named(directory: Path, row: Row) -> Recording:
    try:
        return _recording(directory, row.values["file"], row.values["label"], row.values.get("fold", ""))
    except DataError as error:
        raise DataError(f"{row.where}: {error}") from error


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _recording(directory: Path, file: str, label: str, fold: str) -> Recording:
    # crc32, not hash(): the same fold on every machine and every day.
    named = fold.strip().isdecimal() and len(fold.strip()) < 10
    number = int(fold) if named else 1 + zlib.crc32(os.fsencode(file)) % FOLDS
    return Recording(find_within(directory, file), label.strip(), number)


def relabel(recordings: Sequence[Recording], book: PhraseBook, known_only: bool = False) -> list[Recording]:
    """Put each recording under the label by which the phrase book speaks of it.

    With ``known_only``, recordings whose label the book lacks are left out.
    """
    return [replace(r, label=book.canonical(r.label)) for r in recordings if book.knows(r.label) or not known_only]


class SoundBank:
    """Waveforms of recordings, decoded once and kept in memory as 16-bit samples, by label."""

    def __init__(self, recordings: Iterable[Recording], sample_rate: int) -> None:
        self.sample_rate = sample_rate
        by_label = defaultdict(list)
        for recording in recordings:
            by_label[recording.label].append(recording)
        self.by_label: dict[str, list[Recording]] = dict(by_label)
        self._waveforms: dict[Path, np.ndarray] = {}

    def __len__(self) -> int:
        return sum(map(len, self.by_label.values()))

    @property
    def labels(self) -> list[str]:
        """The labels in order of the alphabet, silence among them whether recorded or not."""
        return sorted({*self.by_label, SILENCE})

    @property
    def recordings(self) -> list[Recording]:
        return [recording for label in sorted(self.by_label) for recording in self.by_label[label]]

    def load(self, on_file: Callable[[], None] = lambda: None) -> list[AudioError]:
        """Decode everything; recordings that cannot be read are left out and their errors returned."""
        errors: list[AudioError] = []
        for label, recordings in self.by_label.items():
            kept = []
            for recording in recordings:
                try:
                    sound = audio.read(recording.path, self.sample_rate)
                except AudioError as error:
                    errors.append(error)
                else:
                    kept.append(recording)
                    self._waveforms[recording.path] = _pcm16(sound.waveform)
                on_file()
            self.by_label[label] = kept
        self.by_label = {label: kept for label, kept in self.by_label.items() if kept}
        return errors

    def waveform(self, recording: Recording) -> Tensor:
        """The whole recording: (samples,) float32."""
        return torch.from_numpy(self._waveforms[recording.path].astype(np.float32) / 32767)

    def pick(self, label: str, random: np.random.Generator) -> Tensor:
        """A random recording of a label: (samples,) float32."""
        recordings = self.by_label[label]
        return self.waveform(recordings[random.integers(len(recordings))])


def _pcm16(waveform: Tensor) -> np.ndarray:
    return (waveform.clamp(-1, 1) * 32767).round().to(torch.int16).numpy()


def split(recordings: Sequence[Recording], fold: int) -> tuple[list[Recording], list[Recording]]:
    """Recordings outside and inside the validation fold."""
    train = [r for r in recordings if r.fold != fold]
    return train, [r for r in recordings if r.fold == fold]


def crop(waveform: Tensor, samples: int, random: np.random.Generator, tries: int = 4) -> Tensor:
    """A stretch of exactly ``samples``, with something to hear in it.

    A longer waveform is cut where a random stretch is not 20 dB below the whole, or else around its loudest
    sample; a shorter one lies at a random place in silence.
    """
    if len(waveform) <= samples:
        before = int(random.integers(samples - len(waveform) + 1))
        return torch.nn.functional.pad(waveform, (before, samples - len(waveform) - before))
    level = waveform.square().mean()
    for _ in range(tries):
        start = int(random.integers(len(waveform) - samples + 1))
        piece = waveform[start : start + samples]
        if piece.square().mean() > 0.01 * level:
            return piece
    start = int(waveform.abs().argmax()) - int(random.integers(samples))
    start = min(max(start, 0), len(waveform) - samples)
    return waveform[start : start + samples]


def gain(waveform: Tensor, decibels: float) -> Tensor:
    """The same sound louder or fainter, kept within full scale."""
    return (waveform * 10 ** (decibels / 20)).clamp(-1, 1)


def faint_noise(samples: int, random: np.random.Generator) -> Tensor:
    """What silence sounds like in a recording: digital zeros, or noise from -90 to -55 dB, white to brown."""
    if random.random() < 0.2:
        return torch.zeros(samples)
    size = 1 << (samples - 1).bit_length()  # a length that the FFT is fast at
    spectrum = np.fft.rfft(random.standard_normal(size))
    slope = random.uniform(0, 1)  # 0: white, 0.5: pink, 1: brown
    spectrum /= np.arange(1, len(spectrum) + 1) ** slope
    noise = np.fft.irfft(spectrum, size)[:samples]
    noise *= 10 ** (random.uniform(-90, -55) / 20) / math.sqrt(np.mean(noise**2))
    return torch.from_numpy(noise.astype(np.float32))
