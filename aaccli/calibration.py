"""From a caption's log-probability to the probability that it names what is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Calibration:
    """A logistic curve over scores (Platt, 1999), fitted to recordings that the model was not trained on."""

    slope: float = 0.0  # none: nothing was fitted
    intercept: float = 0.0

    @property
    def is_fitted(self) -> bool:
        return self.slope != 0

    def probability(self, score: float) -> float:
        """Probability, from 0 to 1, that a caption of this score is right; 0 where there is no score."""
        if math.isnan(score):
            return 0.0
        return float(_logistic(np.array(self.slope * max(score, -1e3) + self.intercept)))


@dataclass(frozen=True)
class Bin:
    """Captions of about the same probability."""

    low: float  # probabilities from here
    high: float  # to here
    count: int
    expected: float  # mean probability of the captions in it
    right: float  # share of them that were right


def fit(scores: Sequence[float], right: Sequence[bool], iterations: int = 50) -> Calibration:
    """Fit the curve by Newton's method.

    As Platt has it, the targets lie a little inside 0 and 1, so that separable scores give a finite slope.

    Raises
    ------
    ValueError
        Fewer than two scores, or all of them right or all wrong: there is nothing to tell apart.
    """
    y, x = np.array(right, dtype=float), np.array(scores, dtype=float)
    positives, negatives = y.sum(), len(y) - y.sum()
    if not positives or not negatives:
        raise ValueError("calibration needs captions that are right and captions that are wrong")
    target = np.where(y > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.stack((x, np.ones_like(x)), axis=1)
    weights = np.zeros(2)
    for _ in range(iterations):
        p = _logistic(design @ weights)
        curvature = design.T @ (design * (p * (1 - p) + 1e-9)[:, None])
        weights -= np.linalg.solve(curvature + 1e-9 * np.eye(2), design.T @ (p - target))
    return Calibration(float(weights[0]), float(weights[1]))


def reliability(probabilities: Sequence[float], right: Sequence[bool], bins: int = 10) -> list[Bin]:
    """Put captions into bins of equal width by probability; empty bins are left out."""
    p, y = np.array(probabilities), np.array(right, dtype=float)
    place = np.minimum((p * bins).astype(int), bins - 1)
    return [
        Bin(i / bins, (i + 1) / bins, int(inside.sum()), float(p[inside].mean()), float(y[inside].mean()))
        for i in range(bins)
        if (inside := place == i).any()
    ]


def expected_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean distance of expected from right, weighed by count."""
    return sum(b.count * abs(b.expected - b.right) for b in bins) / sum(b.count for b in bins)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))
