"""From scores to probabilities."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeCaptioner

from aaccli.calibration import Calibration, expected_error, fit, reliability
from aaccli.captioning.captioner import Caption, Window
from aaccli.checkpoints import load_captioner, save_captioner, write_info
from aaccli.writing.display import caption_line
from aaccli.writing.writers import About, JsonLines


def draw(slope: float, intercept: float, count: int = 4000) -> tuple[list[float], list[bool]]:
    random = np.random.default_rng(0)
    scores = random.uniform(-3, 0, count)
    return scores.tolist(), (random.random(count) < 1 / (1 + np.exp(-(slope * scores + intercept)))).tolist()


def test_fit_finds_the_curve_that_the_data_came_from() -> None:
    found = fit(*draw(3.0, 4.0))
    assert found.slope == pytest.approx(3.0, rel=0.1)
    assert found.intercept == pytest.approx(4.0, rel=0.1)


def test_fit_is_the_likeliest_curve() -> None:
    scores, right = draw(2.0, 1.5, 300)

    def loss(curve: Calibration) -> float:
        return -sum(
            math.log(p if r else 1 - p) for s, r in zip(scores, right, strict=True) for p in [curve.probability(s)]
        )

    best = fit(scores, right)
    for d_slope, d_intercept in ((0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1)):
        assert loss(best) < loss(Calibration(best.slope + d_slope, best.intercept + d_intercept)) + 0.05


def test_separable_scores_give_a_finite_curve() -> None:
    found = fit([-2.0, -1.9, -0.2, -0.1], [False, False, True, True])
    assert math.isfinite(found.slope)
    assert found.probability(-2.0) < 0.5 < found.probability(-0.1)


@pytest.mark.parametrize("right", [[True, True], [False, False]])
def test_nothing_to_tell_apart_is_refused(right: list[bool]) -> None:
    with pytest.raises(ValueError, match="right and captions that are wrong"):
        fit([-1.0, -2.0], right)


def test_probability_rises_with_the_score_and_takes_any_score() -> None:
    curve = Calibration(2.0, 1.0)
    values = [curve.probability(s) for s in (-math.inf, -5.0, -1.0, 0.0)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0)
    assert curve.probability(-0.5) == pytest.approx(0.5)
    assert curve.probability(math.nan) == 0.0


def test_reliability_counts_every_caption_once() -> None:
    bins = reliability([0.05, 0.06, 0.95, 1.0, 0.5], [False, True, True, True, True])
    assert [(b.low, b.count) for b in bins] == [(0.0, 2), (0.5, 1), (0.9, 2)]
    assert bins[0].right == 0.5
    assert bins[0].expected == pytest.approx(0.055)


def test_expected_error_is_nought_for_honest_probabilities_and_large_for_boasts() -> None:
    honest = reliability([0.5] * 4, [True, False, True, False])
    boasting = reliability([1.0] * 4, [True, False, True, False])
    assert expected_error(honest) == 0
    assert expected_error(boasting) == pytest.approx(0.5)


# --- what a caption shows of it ---


def test_captions_have_a_probability_where_the_model_was_calibrated(tmp_path, tone, write_wav):
    path = write_wav(tmp_path / "a.wav", tone(440, 1.0, 8000), 8000)
    captioner = FakeCaptioner()
    assert captioner.caption(path).best.probability is None
    captioner.info = replace(captioner.info, calibration=Calibration(2.0, 1.0))
    heard = captioner.caption(path).best
    assert heard.probability == pytest.approx(1 / (1 + math.exp(-(2 * heard.log_probability + 1))))


@pytest.mark.parametrize(("probability", "shown"), [(None, ""), (0.31, "  (unsure, 31%)"), (0.5, ""), (0.9, "")])
def test_doubt_is_shown_to_people(probability, shown):
    window = Window(0, 1, "a dog barks", -1.0, (), probability)
    assert caption_line(Caption("a.wav", (window,)), "a.wav").plain == f"a.wav  a dog barks{shown}"
    assert caption_line(window).plain == f"a dog barks{shown}"


def test_json_tells_the_probability_where_there_is_one():
    about = About("m", "1", {}, False)
    known, unknown = (Caption("a", (Window(0, 1, "rain", -1.0, (), p),)) for p in (0.12345, None))
    assert json.loads(JsonLines(about).rows(known, True))["probability"] == 0.123
    assert "probability" not in json.loads(JsonLines(about).rows(unknown, True))


def test_calibration_travels_with_the_model(tmp_path):
    captioner = FakeCaptioner()
    save_captioner(tmp_path / "m", captioner.net, captioner.vocabulary, captioner.info)
    assert not load_captioner(tmp_path / "m")[2].calibration.is_fitted
    write_info(tmp_path / "m", replace(captioner.info, calibration=Calibration(2.0, 1.0)))
    assert load_captioner(tmp_path / "m")[2].calibration == Calibration(2.0, 1.0)
