"""Recordings to windows of sound, read ahead of the network by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from ..audio import STDIN, Reader
from ..errors import AudioError
from .windows import Windowing, cut

FIRST = 2  # parts of a recording that are read ahead: all of a short one, and its end


@dataclass(frozen=True)
class Stretch:
    """The sound of one window."""

    file: str
    seconds: float | None  # of the whole recording, where its header says so
    start: float  # seconds from the beginning
    end: float
    samples: np.ndarray  # (samples,) float32
    sample_rate: int  # Hz


@dataclass(frozen=True)
class Ending:
    """A recording has come to its end, or to why there is no more of it."""

    file: str
    error: AudioError | None
    not_finite: int = 0  # samples that were NaN or infinite, read as silence


Part = Stretch | Ending


def parts(name: str, recording: AbstractContextManager[Reader], windowing: Windowing) -> Iterator[Part]:
    """The windows of a recording, and its ending; what goes wrong is told there."""
    try:
        with recording as reader:
            rate = reader.sample_rate
            for piece in cut(reader, rate, windowing):
                end = (piece.start + len(piece.samples)) / rate
                yield Stretch(name, reader.seconds, piece.start / rate, end, piece.samples, rate)
            yield Ending(name, reader.error, reader.not_finite)
    except AudioError as error:
        yield Ending(name, error)


def read_ahead(recordings: Iterable[tuple[str, Iterator[Part]]], pool: Executor, files: int) -> Iterator[Part]:
    """The parts of recordings, one recording after the other.

    Parameters
    ----------
    recordings : iterable of (str, iterator of Part)
        Name and parts.
    pool : Executor
        Its threads read the first parts of the recordings to come, but not of stdin: nothing ends their waiting.
    files : int
        How many recordings are begun ahead.
    """
    begun: deque[Iterator[Part]] = deque()
    for name, recording in recordings:
        begun.append(recording if name == STDIN else _begin(recording, pool))
        if len(begun) > files:
            yield from begun.popleft()
    for recording in begun:
        yield from recording


def _begin(recording: Iterator[Part], pool: Executor) -> Iterator[Part]:
    first = pool.submit(lambda: list(islice(recording, FIRST)))
    return chain.from_iterable(part() for part in (first.result, lambda: recording))
