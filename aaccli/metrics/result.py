"""What a metric says of a set of captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One metric: a number a clip, and one for all of them.

    The number of all clips is computed from totals that are summed over clips, so that it can be computed for any
    part of them and for draws with repetition.
    """

    clips: Numbers  # (N,)
    totals: Numbers  # (N, K) of each clip
    of_totals: Callable[[Numbers], Numbers]  # totals (..., K) of a set -> its score (...)

    @property
    def corpus(self) -> float:
        return float(self.of_totals(self.totals.sum(axis=0)))


def mean_score(clips: Numbers) -> Score:
    """A metric whose score of a set is the mean over its clips."""
    return Score(clips, np.stack([clips, np.ones_like(clips)], axis=1), lambda t: t[..., 0] / t[..., 1])
