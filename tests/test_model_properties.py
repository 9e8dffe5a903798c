"""What holds of the network whatever it hears, whatever lies in the padding, and whatever its weights are."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_beam import memory_of, search, toy_net
from test_cnn10 import randomise_batch_norms
from torch import Tensor, nn

from aaccli import Captioner
from aaccli.checkpoints import CaptionerInfo, load_captioner, load_weights, save_captioner, save_weights
from aaccli.errors import CheckpointError
from aaccli.model.beam import DecodingConfig, Hypothesis
from aaccli.model.captioner import CaptionerNet
from aaccli.model.cnn10 import Cnn10, Cnn10Config
from aaccli.model.features import FrontEndConfig, LogMel
from aaccli.vocabulary import Vocabulary

WORDS = Vocabulary(("a", "dog", "cat", "bird", "barks", "sings", "while", "rain"))
DECODING = DecodingConfig(beam_size=3, max_words=6)
FRONT_END = FrontEndConfig()
# The same examples in every run, and few of those that a network has to hear.
few = settings(max_examples=6, deadline=None, derandomize=True)
many = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def captioner(tiny_model_config) -> Captioner:
    """Not trained, but for its batch statistics, and talkative: what it says depends on what it hears."""
    torch.manual_seed(3)
    net = CaptionerNet(tiny_model_config, len(WORDS)).train()
    randomise_batch_norms(net.cnn10)
    for norm in net.cnn10.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all that it hears
    with torch.no_grad():
        net.listen(torch.stack([frames(20_000, seed) for seed in range(8)]))
        nn.init.zeros_(net.encoder.project.bias)
        nn.init.normal_(net.decoder.embedding.weight)
        for layer in net.decoder.layers:
            layer.cross_attention.out.weight.mul_(30)
    return Captioner(net, WORDS, CaptionerInfo(tiny_model_config, DECODING, {}), precision="fp32")


def sound(samples: int, seed: int) -> Tensor:
    """A tone in noise, of its own pitch, level and share of noise."""
    random = np.random.default_rng(seed)
    tone = np.sin(np.arange(samples) * random.uniform(0.01, 1.0))
    noise = random.standard_normal(samples) * random.uniform(0.01, 1.0)
    return torch.from_numpy((10 ** random.uniform(-3, 0) * (tone + noise)).astype(np.float32))


def then_silence(waveform: Tensor, samples: int) -> Tensor:
    return nn.functional.pad(waveform, (0, samples))


def frames(samples: int, seed: int) -> Tensor:
    return LogMel(FRONT_END)(sound(samples, seed))


def padded(clips: list[Tensor], more: int, holds: float) -> tuple[Tensor, Tensor]:
    """Clips as a batch, and their lengths."""
    longest = max(map(len, clips)) + more
    batch = [nn.functional.pad(clip, (0, 0, 0, longest - len(clip)), value=holds) for clip in clips]
    return torch.stack(batch), torch.tensor([len(clip) for clip in clips])


# --- one clip among others ---


def assert_same_captions(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [h.words for h in found] == [h.words for h in expected]
    assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-4)


@few
@given(st.lists(st.integers(1, 40_000), min_size=2, max_size=4, unique=True), seeds)
def test_a_sound_has_its_captions_alone_and_among_any_others_in_any_order(captioner, lengths, seed):
    sounds = [sound(samples, seed + i) for i, samples in enumerate(lengths)]
    together = captioner.caption_waveforms(sounds)
    turned = captioner.caption_waveforms(sounds[::-1])[::-1]
    for i, waveform in enumerate(sounds):
        (alone,) = captioner.caption_waveforms([waveform])
        assert_same_captions(together[i], alone)
        assert_same_captions(turned[i], alone)


def test_the_captioner_of_these_tests_listens(captioner):
    """Else every sound would have the same caption in any company."""
    best = [captioner.caption_waveforms([sound(20_000, seed)])[0][0].words for seed in range(8)]
    assert len(set(best)) > 2


@torch.no_grad()
@few
@given(
    st.lists(st.integers(1, 30_000), min_size=1, max_size=3),
    st.integers(0, 40),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 3e38, 1e-38]),
    st.booleans(),
)
def test_no_bit_depends_on_what_padding_holds(captioner, lengths, more, holds, is_prepared):
    clips = [frames(samples, seed) for seed, samples in enumerate(lengths)]
    net = captioner.engine.ready if is_prepared else captioner.net
    silent, strange = (net.encode(*padded(clips, more, value)) for value in (-100.0, holds))
    assert silent.heard.isfinite().all()
    assert torch.equal(silent.heard, strange.heard)
    assert torch.equal(silent.encoded, strange.encoded)


@torch.no_grad()
@few
@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=3), st.integers(0, 40))
def test_the_prepared_network_hears_padded_clips_as_the_trained_one_hears_each_alone(captioner, lengths, more):
    clips = [frames(samples, seed) for seed, samples in enumerate(lengths)]
    together = captioner.engine.ready.encode(*padded(clips, more, float("nan")))
    for i, clip in enumerate(clips):
        alone = captioner.net.encode(clip[None])
        steps = alone.heard.shape[1]
        assert together.lengths[i] == steps
        for part in ("heard", "encoded"):
            expected = getattr(alone, part)[0]
            atol = 1e-5 * float(expected.abs().max())
            torch.testing.assert_close(getattr(together, part)[i, :steps], expected, rtol=1e-4, atol=atol)


# --- silence after a sound ---


@many
@given(st.integers(FRONT_END.min_samples, 50_000), st.integers(1, 30_000), seeds)
def test_silence_changes_no_frame_that_ends_before_it(samples, silence, seed):
    config, waveform = FRONT_END, sound(samples, seed)
    before, after = LogMel(config)(waveform), LogMel(config)(then_silence(waveform, silence))
    own = (samples - config.window // 2) // config.hop + 1
    torch.testing.assert_close(after[:own], before[:own], rtol=0, atol=1e-4)
    if silence > config.window:  # else there is sound in what is reflected at the end
        begun = -(-(samples + config.window // 2) // config.hop)
        assert after[begun:].numpy() == pytest.approx(-100.0)


BEFORE, AFTER = 30, 45  # a step of CNN10 hears so many frames before its first one, and up to so many after it


@torch.no_grad()
@few
@given(st.integers(FRONT_END.min_samples, 60_000), st.integers(1, 60_000), seeds)
def test_silence_changes_no_step_of_cnn10_that_does_not_reach_it(captioner, samples, silence, seed):
    net, waveform = captioner.net, sound(samples, seed)
    before, after = (net.encode(net.logmel(w)[None]).heard[0] for w in (waveform, then_silence(waveform, silence)))
    own = (samples - FRONT_END.window // 2) // FRONT_END.hop + 1
    # Up to 15 frames at a clip's end fill no step; pooling drops them, which the next step's edge may feel.
    steps = max(0, (16 * (own // 16) - 1 - AFTER) // 16 + 1)
    assert steps >= len(before) - 4
    torch.testing.assert_close(after[:steps], before[:steps], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("frame", [0, 15, 16, 45, 46, 77, 78, 100, 159])
def test_a_frame_reaches_the_steps_around_it_and_no_other(frame):
    cnn10 = Cnn10(Cnn10Config(), 16).eval()
    randomise_batch_norms(cnn10)
    logmel = torch.randn(1, 160, 16)
    changed = logmel.clone()
    changed[:, frame] += 50.0
    differs = (cnn10(changed)[0] - cnn10(logmel)[0]).abs().amax((0, 2)) > 1e-6
    assert differs.tolist() == [16 * step - BEFORE <= frame <= 16 * step + AFTER for step in range(10)]


# --- the beam and greedy decoding ---


@pytest.mark.parametrize("length_penalty", [0.0, 0.5, 1.0])
def test_no_beam_finds_less_than_greedy_decoding(length_penalty):
    """A plain beam does, of one clip in twenty or so: it drops the words that greedy decoding begins with."""
    gains = []
    for seed in range(12):
        memory = memory_of(toy_net(seed), 5, 3, 8)
        greedy, *wider = (
            search(toy_net(seed), memory, beam_size=size, max_words=8, length_penalty=length_penalty)
            for size in (1, 2, 3, 4)
        )
        gains += [b[0].rank - g[0].rank for found in wider for b, g in zip(found, greedy, strict=True)]
    assert min(gains) > -1e-4
    assert np.mean(gains) > 0.01


@pytest.fixture(scope="module")
def default() -> Captioner:
    return Captioner.from_pretrained(precision="fp32")


def scene(kind: str, rate: int) -> Tensor:
    """Two seconds that are somewhat like a sound of the world."""
    time = np.arange(2 * rate) / rate
    noise = np.random.default_rng(0).standard_normal(len(time))
    made = {
        "rain": 0.05 * noise,
        "surf": 0.1 * noise * (1 + np.sin(2 * np.pi * 0.4 * time)),
        "engine": 0.1 * np.sign(np.sin(2 * np.pi * 60 * time)) + 0.02 * noise,
        "chirps": 0.3 * np.sin(2 * np.pi * 3000 * time + 80 * np.sin(2 * np.pi * 9 * time)) * (time % 0.5 < 0.15),
        "clicks": 0.5 * noise * np.exp(-60 * (time % 0.4)),
        "bell": sum(np.sin(2 * np.pi * 440 * k * time) / k for k in (1, 2.76, 5.4)) * np.exp(-2 * time) / 3,
    }
    return torch.from_numpy(made[kind].astype(np.float32))


def test_the_default_models_beam_ranks_no_lower_than_greedy_decoding(default):
    gains = []
    for kind in ("rain", "surf", "engine", "chirps", "clicks", "bell"):
        waveform = scene(kind, default.info.model.front_end.sample_rate)
        greedy, found = (
            default.caption_waveforms([waveform], replace(default.info.decoding, beam_size=size))[0][0].rank
            for size in (1, 4)
        )
        gains.append(found - greedy)
    assert min(gains) > -1e-5
    assert np.mean(gains) > 0.05


# --- weights on disk ---


def stored(state: dict[str, Tensor], store: str) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        save_weights(Path(folder, "w.safetensors"), state, store)
        return load_weights(Path(folder, "w.safetensors"))


def bits(tensor: Tensor) -> list[int]:
    return tensor.view(torch.int32).tolist()


@many
@given(st.lists(st.floats(width=32), min_size=1, max_size=20), st.integers(-(2**63), 2**63 - 1))
def test_weights_come_back_bit_for_bit(numbers, count):
    state = {"numbers": torch.tensor(numbers, dtype=torch.float32), "count": torch.tensor(count)}
    loaded = stored(state, "float32")
    assert bits(loaded["numbers"]) == bits(state["numbers"])
    assert loaded["count"].item() == count


@many
@given(st.lists(st.floats(-65504, 65504, width=32), min_size=1, max_size=20))
def test_float16_rounds_to_the_nearest(numbers):
    loaded = stored({"numbers": torch.tensor(numbers, dtype=torch.float32)}, "float16")["numbers"]
    assert bits(loaded) == bits(torch.from_numpy(np.array(numbers, np.float16).astype(np.float32)))
    for before, after in zip(numbers, loaded.tolist(), strict=True):
        assert abs(after - before) <= max(2**-11 * abs(before), 2**-25)


@many
@given(st.floats(65520, 2.0**127, width=32), st.booleans())
def test_what_float16_cannot_hold_is_refused(number, is_negative):
    with pytest.raises(CheckpointError, match="weight does not fit into float16; store float32"):
        stored({"weight": torch.tensor([1.0, -number if is_negative else number])}, "float16")


@pytest.mark.parametrize("store", ["float32", "float16"])
def test_an_exported_captioner_says_the_same_to_the_last_bit(captioner, tmp_path, store):
    """In float16, the same as a network whose weights were rounded so before."""
    rounded = CaptionerNet(captioner.info.model, len(WORDS))
    state = captioner.net.state_dict()
    halves = {k: v.half().float() for k, v in state.items() if v.is_floating_point() and not k.startswith("logmel.")}
    rounded.load_state_dict({**state, **halves} if store == "float16" else state)
    save_captioner(tmp_path / "m", captioner.net, WORDS, captioner.info, store)
    expected, found = (
        Captioner(net, WORDS, captioner.info, precision="fp32") for net in (rounded, load_captioner(tmp_path / "m")[0])
    )
    sounds = [sound(samples, samples) for samples in (9_000, 30_000, 17_000)]
    assert found.caption_waveforms(sounds) == expected.caption_waveforms(sounds)
    assert (found.caption_waveforms(sounds) == captioner.caption_waveforms(sounds)) == (store == "float32")
