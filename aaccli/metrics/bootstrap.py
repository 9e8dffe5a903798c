"""How far scores would move over other clips: intervals by bootstrap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .result import Numbers, Score

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """Where a number lies in ``LEVEL`` of the draws."""

    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """Of each system, and of the differences to the first one."""

    systems: tuple[dict[str, Interval], ...]
    differences: tuple[dict[str, Interval], ...]  # of the second system, the third, ...


def bootstrap(systems: Sequence[Mapping[str, Score]], draws: int, seed: int = 0) -> Intervals:
    """Percentile intervals (Efron, 1979) of scores over clips that are drawn with repetition.

    All metrics and systems see the same draws, so that differences are of pairs (Koehn, 2004).

    Parameters
    ----------
    systems : sequence of mappings of str to Score
        Of the same clips.
    draws : int
        Sets of as many clips as there are; 0 gives no intervals.
    seed : int
        The same gives the same intervals.
    """
    if not draws or not any(systems):
        return Intervals(tuple({} for _ in systems), tuple({} for _ in systems[1:]))
    drawn = _draw([score for scores in systems for score in scores.values()], draws, seed)
    of = [{name: next(drawn) for name in scores} for scores in systems]
    first, *others = of
    return Intervals(
        tuple({name: _interval(values) for name, values in scores.items()} for scores in of),
        tuple({name: _interval(other[name] - first[name]) for name in first if name in other} for other in others),
    )


def _draw(scores: Sequence[Score], draws: int, seed: int) -> Iterator[Numbers]:
    """Each score's values (draws,)."""
    columns: dict[int, slice] = {}  # metrics with the same totals share them
    blocks: list[Numbers] = []
    width = 0
    for score in scores:
        if id(score.totals) not in columns:
            columns[id(score.totals)] = slice(width, width + score.totals.shape[1])
            blocks.append(score.totals)
            width += score.totals.shape[1]
    totals = np.concatenate(blocks, axis=1)  # (N, K)
    clips = len(totals)
    random = np.random.default_rng(seed)
    sums = np.empty((draws, width))
    for draw in range(draws):
        times = np.bincount(random.integers(clips, size=clips), minlength=clips)
        sums[draw] = times @ totals
    for score in scores:
        yield score.of_totals(sums[:, columns[id(score.totals)]])


def _interval(values: Numbers) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
