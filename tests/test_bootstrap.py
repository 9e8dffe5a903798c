"""Intervals of scores and of their differences."""

import numpy as np
import pytest

from aaccli.metrics.bootstrap import bootstrap
from aaccli.metrics.result import Score, mean_score


def test_bootstrap_of_a_mean_has_the_known_width():
    random = np.random.default_rng(1)
    values = random.normal(0.5, 0.1, 400)
    interval = bootstrap([{"m": mean_score(values)}], 8000).systems[0]["m"]
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=half / 20)
    assert interval.high == pytest.approx(values.mean() + half, abs=half / 20)


def test_bootstrap_of_differences_is_of_pairs():
    """Two systems that move together: each is uncertain, their difference is not."""
    values = np.random.default_rng(2).normal(0.5, 0.2, 100)
    both = [{"m": mean_score(values)}, {"m": mean_score(values + 0.01)}]
    result = bootstrap(both, 200)
    assert result.systems[0]["m"].high - result.systems[0]["m"].low > 0.05
    assert result.differences[0]["m"].low == pytest.approx(0.01)
    assert result.differences[0]["m"].high == pytest.approx(0.01)
    assert bootstrap(both, 200) == result
    assert bootstrap(both, 0).systems == ({}, {})
    assert bootstrap(both, 0).differences == ({},)


def test_bootstrap_draws_corpus_scores_not_means():
    """Of a ratio of sums, the interval lies around the ratio, away from the mean of ratios."""
    totals = np.array([[1.0, 1.0], [0.0, 99.0]] * 50)
    score = Score(totals[:, 0] / totals[:, 1], totals, lambda t: t[..., 0] / t[..., 1])
    interval = bootstrap([{"m": score}], 200).systems[0]["m"]
    assert score.corpus == pytest.approx(0.01)
    assert interval.low < score.corpus < interval.high < score.clips.mean() / 2
