"""Long sound to windows, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

MAX_WINDOW = 120.0  # seconds; memory grows with it, and models are trained on 30 s at most


@dataclass(frozen=True)
class Windowing:
    """How a recording is cut.

    Attributes
    ----------
    window : float
        Seconds; 30 is the longest that models are trained on.
    overlap : float
        Seconds that a window shares with the one before it.
    """

    window: float = 30.0
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.window <= MAX_WINDOW:
            raise ValueError(f"window is 1 to {MAX_WINDOW:.0f} seconds")
        if not 0.0 <= self.overlap <= self.window / 2:
            raise ValueError("overlap is 0 to half of the window")


@dataclass(frozen=True)
class Piece:
    """One window's sound."""

    start: int  # samples from the beginning
    samples: np.ndarray  # (samples,) float32


def cut(blocks: Iterable[np.ndarray], sample_rate: int, windowing: Windowing) -> Iterator[Piece]:
    """Cut sound into windows.

    The last window is half a window long at least: a shorter rest joins the one before it, which then lasts up to one
    and a half. So sound shorter than that is one window.

    Parameters
    ----------
    blocks : iterable of ndarray, shape (samples,)
        Mono sound; no more than two windows and a block of it are held.
    sample_rate : int
        Hz.
    windowing : Windowing
    """
    window = round(windowing.window * sample_rate)
    hop = window - round(windowing.overlap * sample_rate)
    enough = window + window // 2  # the window, and what makes another after it
    held: list[np.ndarray] = []
    length = start = 0
    for block in blocks:
        held.append(block)
        length += len(block)
        while length >= enough:
            sound = np.concatenate(held)
            yield Piece(start, sound[:window])
            held, length, start = [sound[hop:]], length - hop, start + hop
    if length:
        yield Piece(start, np.concatenate(held))
