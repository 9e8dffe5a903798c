"""Sound files to mono waveforms."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from .errors import AudioError
from .model.features import resample

# What soundfile reads and people keep recordings in; used to pick files out of a folder.
SUFFIXES = frozenset(
    [".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".caf", ".au", ".snd", ".w64", ".rf64"]
)
BLOCK = 1 << 20  # samples read at a time: what a header claims is never allocated at once


@dataclass(frozen=True)
class Sound:
    """Mono sound."""

    waveform: Tensor  # (samples,) float32
    sample_rate: int  # Hz
    truncated: bool = False  # there was more than was asked for


def read(path: Path, sample_rate: int, max_seconds: float | None = None) -> Sound:
    """Read a file as mono sound at a sample rate.

    Channels are averaged; samples that are not finite count as silence.

    Parameters
    ----------
    path : Path
        Any format, rate and sample type that libsndfile reads.
    sample_rate : int
        Hz wanted.
    max_seconds : float, optional
        Stop reading there.

    Raises
    ------
    AudioError
        The file is missing, a folder, empty, or not sound.
    """
    try:
        if not path.exists():
            raise AudioError(f"{path}: no such file")
        if not path.is_file():
            raise AudioError(f"{path}: not a file")
        # The bytes of the name, because libsndfile must also open names that are not UTF-8.
        with soundfile.SoundFile(os.fsencode(path)) as file:
            rate = file.samplerate
            limit = None if max_seconds is None else round(max_seconds * rate)
            mono, truncated = _read_mono(file, limit)
    except (soundfile.LibsndfileError, OSError, TypeError) as error:  # TypeError: headerless .raw
        raise AudioError(f"{path}: cannot be read as sound ({_reason(error)})") from error
    if mono.size == 0:
        raise AudioError(f"{path}: holds no samples")
    return Sound(resample(torch.from_numpy(mono), rate, sample_rate), sample_rate, truncated)


def _read_mono(file: soundfile.SoundFile, limit: int | None) -> tuple[np.ndarray, bool]:
    blocks: list[np.ndarray] = []
    held = 0
    while limit is None or held < limit:
        block = file.read(BLOCK if limit is None else min(BLOCK, limit - held), dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        blocks.append(np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0).mean(axis=1, dtype=np.float64))
        held += len(block)
    truncated = limit is not None and held >= limit and len(file.read(1)) > 0
    mono = np.concatenate(blocks).astype(np.float32) if blocks else np.zeros(0, np.float32)
    return mono, truncated


def _reason(error: Exception) -> str:
    if isinstance(error, soundfile.LibsndfileError):
        text = error.error_string
    else:
        text = getattr(error, "strerror", None) or str(error)
    return text.strip().rstrip(".")


def is_sound_file(path: Path) -> bool:
    """Whether a file's name says that it holds sound; hidden files are not taken."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
