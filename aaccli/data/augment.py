"""What microphones, rooms, telephones and small files do to a sound, done to its log-mel frames while training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class DegradeConfig:
    """How often, and how much."""

    gain: float = 0.5  # share of clips that are made fainter
    gain_db: float = 30.0  # by up to this
    colour: float = 0.3  # share that goes through a microphone or a room: a smooth curve over the bands
    colour_db: float = 4.0  # of each of its two waves, at most
    cut: float = 0.2  # share that loses all above a frequency, as on a telephone
    noise: float = 0.25  # share that gets a noise floor
    noise_db: tuple[float, float] = (12.0, 50.0)  # it lies this much below the loudest frame
    floor_db: float = -100.0  # of the front end


def degrade(logmel: Tensor, random: np.random.Generator, config: DegradeConfig) -> Tensor:
    """Degrade one clip.

    Parameters
    ----------
    logmel : Tensor, shape (frames, mels)
        Power in dB.
    random : numpy.random.Generator
        Where every draw comes from.

    Returns
    -------
    Tensor, shape (frames, mels)
        A new tensor, no value below the floor.
    """
    mels, c = logmel.shape[1], config
    bands = np.linspace(0, 1, mels)
    curve = np.zeros(mels)
    if random.random() < c.gain:
        curve -= random.uniform(0, c.gain_db)
    if random.random() < c.colour:
        for waves in (1, 2):
            curve += random.uniform(-c.colour_db, c.colour_db) * np.cos(np.pi * (waves * bands + random.random()))
    out = logmel + torch.from_numpy(curve).to(logmel)
    if random.random() < c.cut:
        out[:, int(random.integers(mels // 2, mels)) :] = c.floor_db + random.uniform(0, 20)
    if random.random() < c.noise:
        out = _add_noise(out, random, c)
    return out.clamp_min(c.floor_db)


def _add_noise(logmel: Tensor, random: np.random.Generator, config: DegradeConfig) -> Tensor:
    """Steady noise, from white (flat, since the bands are normalised by their width) to brown."""
    frames, mels = logmel.shape
    slope = np.linspace(0, random.uniform(-25, 5), mels)
    level = float(logmel.mean(1).max()) - random.uniform(*config.noise_db)
    noise = torch.from_numpy(level + slope + random.standard_normal((frames, mels))).to(logmel)
    return torch.logaddexp(logmel * _NEPER, noise * _NEPER) / _NEPER


_NEPER = float(np.log(10) / 10)  # powers in dB to natural logarithms
