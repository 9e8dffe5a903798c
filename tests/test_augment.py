"""Degrading log-mel frames."""

import numpy as np
import pytest
import torch

from aaccli.data.augment import DegradeConfig, degrade

NOTHING = DegradeConfig(gain=0, colour=0, cut=0, noise=0)
FRAMES = torch.linspace(-90, 0, 40)[:, None].expand(40, 64).contiguous()


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_nothing_asked_for_changes_nothing() -> None:
    assert torch.equal(degrade(FRAMES, random(), NOTHING), FRAMES)


def test_the_input_stays_as_it_is() -> None:
    before = FRAMES.clone()
    degrade(FRAMES, random(), DegradeConfig(gain=1, colour=1, cut=1, noise=1))
    assert torch.equal(FRAMES, before)


def test_the_same_draw_degrades_the_same() -> None:
    config = DegradeConfig(gain=1, colour=1, cut=1, noise=1)
    assert torch.equal(degrade(FRAMES, random(3), config), degrade(FRAMES, random(3), config))
    assert not torch.equal(degrade(FRAMES, random(3), config), degrade(FRAMES, random(4), config))


def test_gain_makes_fainter_down_to_the_floor() -> None:
    out = degrade(FRAMES, random(), DegradeConfig(gain=1, gain_db=40, colour=0, cut=0, noise=0))
    shift = float(out[-1, 0])
    assert -40 <= shift < 0
    assert torch.allclose(out, (FRAMES + shift).clamp_min(-100))
    assert out.min() == -100


def test_colour_is_the_same_in_every_frame_and_bounded() -> None:
    out = degrade(FRAMES[20:], random(), DegradeConfig(gain=0, colour=1, colour_db=4, cut=0, noise=0)) - FRAMES[20:]
    assert torch.allclose(out, out[:1].expand_as(out), atol=1e-4)
    assert 0.1 < out.abs().max() <= 8


def test_a_cut_leaves_the_lower_half_and_empties_the_top() -> None:
    out = degrade(FRAMES, random(1), DegradeConfig(gain=0, colour=0, cut=1, noise=0))
    assert torch.equal(out[:, :32], FRAMES[:, :32])
    assert out[:, -1].max() <= -80


@pytest.mark.parametrize("below", [10.0, 30.0])
def test_noise_lifts_what_is_faint_and_leaves_what_is_loud(below: float) -> None:
    out = degrade(FRAMES, random(), DegradeConfig(gain=0, colour=0, cut=0, noise=1, noise_db=(below, below)))
    assert (out >= FRAMES - 1e-3).all()
    assert out[0, 0] == pytest.approx(-below, abs=5)  # lowest band: the slope starts at 0 dB
    assert out[-1].mean() == pytest.approx(0, abs=1)
