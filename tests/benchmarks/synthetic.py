"""Sounds to measure with, made from a seed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

RATE = 44100  # Hz, of the models that are measured


@lru_cache(16)
def synthesised(seconds: float, seed: int, rate: int = RATE) -> np.ndarray:
    """Something to hear (samples,): a tone that glides, pulses, noise."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (random.uniform(100, 2000) * t + 50 * np.sin(random.uniform(0.1, 3) * t)))
    pulses = (np.sin(2 * np.pi * random.uniform(0.5, 8) * t) > 0.9) * random.standard_normal(len(t))
    parts = random.uniform(0.02, 0.3, 3)
    return (parts[0] * tone + parts[1] * pulses + 0.1 * parts[2] * random.standard_normal(len(t))).astype(np.float32)


def clips(folder: Path, count: int, seconds: float = 30.0, form: str = "wav", rate: int = RATE) -> list[Path]:
    """A new folder of clips: mono at 44.1 kHz, stereo at any other rate."""
    folder.mkdir()
    files = [folder / f"{i:04}.{form}" for i in range(count)]
    for i, file in enumerate(files):
        sound = synthesised(seconds, i, rate)
        soundfile.write(file, sound if rate == RATE else np.stack((sound, sound[::-1]), 1), rate)
    return files


def recording(file: Path, minutes: int, rate: int = 16000) -> Path:
    """One minute over and over, so that hours are made in seconds."""
    minute = synthesised(60, 0, rate)
    with soundfile.SoundFile(file, "w", rate, 1) as out:
        for _ in range(minutes):
            out.write(minute)
    return file
