"""CNN10: PANNs' key names and numbers, padding that has no say, and checkpoints that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aaccli.model.cnn10 import Cnn10, Cnn10Config, Tagger, load_panns, mean_max
from aaccli.model.features import SpecAugmentConfig

MELS = 16  # a quarter of the real bands: four times as fast
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def panns_keys() -> set[str]:
    """The keys of PANNs' CNN10 without its front end and head, written out from its published code."""
    keys = {f"bn0.{name}" for name in BATCH_NORM}
    for block in "1234":
        keys |= {f"conv_block{block}.conv{i}.weight" for i in "12"}
        keys |= {f"conv_block{block}.bn{i}.{name}" for i in "12" for name in BATCH_NORM}
    return keys


def randomise_batch_norms(module: nn.Module) -> None:
    """Far from the identity that a fresh one is, so that a zero before it is not a zero after it."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.5)
            nn.init.normal_(norm.running_mean, std=0.3)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)


@pytest.fixture
def cnn10() -> Cnn10:
    net = Cnn10(Cnn10Config(), MELS).eval()
    randomise_batch_norms(net)
    return net


@pytest.fixture(scope="module")
def panns_state(shared):
    return torch.load(shared / "parity" / "cnn10_random.pth", map_location="cpu", weights_only=True)["model"]


@pytest.fixture(scope="module")
def parity(shared):
    with np.load(shared / "parity" / "cnn10_44100_1024_512.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in ("logmel", "sequence", "embedding", "clipwise")}


@pytest.fixture(scope="module")
def panns_tagger(panns_state):
    tagger = Tagger(Cnn10Config(), 527).eval()
    load_panns(tagger.cnn10, panns_state)
    for name in ("fc1", "fc_audioset"):
        layer = tagger.get_submodule(name)
        layer.load_state_dict({part: panns_state[f"{name}.{part}"] for part in ("weight", "bias")})
    return tagger


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """As a share of the largest value."""
    assert a.shape == b.shape
    return ((a - b).abs().max() / b.abs().max()).item()


def test_key_names_are_those_of_panns():
    keys = Cnn10(Cnn10Config()).state_dict().keys()
    assert len(keys) == 53
    assert set(keys) == panns_keys()


def test_number_of_parameters():
    assert sum(p.numel() for p in Cnn10(Cnn10Config()).parameters()) == 4_686_272


@torch.no_grad()
def test_sequence_is_that_of_panns(panns_tagger, parity):
    sequence, lengths = panns_tagger.cnn10(parity["logmel"])
    assert lengths is None
    assert largest_difference(sequence, parity["sequence"]) <= 1e-4


@torch.no_grad()
def test_embedding_is_that_of_panns(panns_tagger, parity):
    sequence, lengths = panns_tagger.cnn10(parity["logmel"])
    embedding = F.relu(panns_tagger.fc1(mean_max(sequence, lengths)))
    assert largest_difference(embedding, parity["embedding"]) <= 1e-4


@torch.no_grad()
def test_tag_probabilities_are_those_of_panns(panns_tagger, parity):
    assert largest_difference(panns_tagger(parity["logmel"]).sigmoid(), parity["clipwise"]) <= 1e-4


@torch.no_grad()
def test_parity_holds_beside_a_longer_clip(panns_tagger, parity):
    longer = F.pad(parity["logmel"], (0, 0, 0, 90), value=-100.0)
    sequence, lengths = panns_tagger.cnn10(longer, torch.tensor([259, 300]))
    assert lengths.tolist() == [16, 18]
    assert largest_difference(sequence[:1, :16], parity["sequence"][:1]) <= 1e-4


def padded(clip: torch.Tensor, frames: int, holds: float) -> torch.Tensor:
    return F.pad(clip, (0, 0, 0, frames - len(clip)), value=holds)


def assert_same_beside_longer(cnn10: Cnn10, frames: list[int], holds: float) -> None:
    clips = [torch.randn(length, MELS) * 20 - 40 for length in frames]
    batch = torch.stack([padded(clip, max(frames) + 5, holds) for clip in clips])
    sequence, lengths = cnn10(batch, torch.tensor(frames))
    for clip, together, length in zip(clips, sequence, lengths.tolist(), strict=True):
        alone, _ = cnn10(clip[None])
        assert length == len(clip) // 16 == alone.shape[1]
        torch.testing.assert_close(together[:length], alone[0], rtol=1e-4, atol=1e-5)
        assert (together[length:] == 0).all()


@torch.no_grad()
@pytest.mark.parametrize("start", range(4))
def test_clip_is_the_same_alone_and_beside_longer_ones(cnn10, start):
    """Steps of an odd number of frames leave every remainder of 2, 4, 8 and 16: half-filled windows at every level."""
    frames = list(range(16 + start, 201, 11))
    assert {length % 16 for length in frames} == set(range(16))
    assert_same_beside_longer(cnn10, frames, holds=0.0)


@torch.no_grad()
@pytest.mark.parametrize("frames", [16, 17, 31, 33, 47, 63, 127, 191, 200])
@pytest.mark.parametrize("holds", [-100.0, 1e6, 1e30])
def test_what_padding_holds_does_not_matter(cnn10, frames, holds):
    assert_same_beside_longer(cnn10, [frames, 200], holds)


@torch.no_grad()
@pytest.mark.parametrize("holds", [float("nan"), float("inf")])
def test_padding_may_hold_what_is_no_number(cnn10, holds):
    assert_same_beside_longer(cnn10, [37, 64], holds)


@torch.no_grad()
def test_what_padding_holds_does_not_matter_in_training():
    cnn10 = Cnn10(Cnn10Config(dropout=0.0, spec_augment=SpecAugmentConfig(time_masks=0, mel_masks=0)), MELS).train()
    clips = [torch.randn(length, MELS) * 20 - 40 for length in (37, 64)]
    lengths = torch.tensor([37, 64])
    silent, loud = (cnn10(torch.stack([padded(c, 64, holds) for c in clips]), lengths)[0] for holds in (-100.0, 50.0))
    torch.testing.assert_close(silent, loud, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_time_masks_leave_most_of_a_short_clip_beside_a_long_one():
    cnn10 = Cnn10(Cnn10Config(spec_augment=SpecAugmentConfig(mel_masks=0)), MELS).train()
    seen = []
    cnn10.spec_augment.register_forward_hook(lambda module, inputs, output: seen.append(output))
    for _ in range(20):
        cnn10(torch.randn(4, 160, MELS), torch.tensor([16, 16, 16, 160]))
    masked = (torch.cat(seen)[:, 0, :16] == 0).all(2).sum(1).unflatten(0, (20, 4))[:, :3]
    assert masked.max() <= 2 * 0.2 * 16


def test_mean_max_of_each_clips_own_frames():
    sequence = torch.randn(3, 5, 7)
    lengths = torch.tensor([5, 1, 3])
    pooled = mean_max(sequence, lengths)
    for clip, length, row in zip(sequence.numpy(), lengths.tolist(), pooled.numpy(), strict=True):
        assert row == pytest.approx(clip[:length].max(0) + clip[:length].mean(0), abs=1e-6)


@torch.no_grad()
def test_tags_are_the_same_alone_and_beside_longer_ones():
    tagger = Tagger(Cnn10Config(), 5, MELS).eval()
    randomise_batch_norms(tagger)
    clips = [torch.randn(length, MELS) for length in (21, 90)]
    together = tagger(torch.stack([padded(clip, 90, 7.0) for clip in clips]), torch.tensor([21, 90]))
    alone = torch.cat([tagger(clip[None]) for clip in clips])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def fresh_panns_state() -> dict[str, torch.Tensor]:
    """As a PANNs file has it: with front end and head, every value drawn anew."""
    shapes = {key: value.shape for key, value in Cnn10(Cnn10Config()).state_dict().items()}
    shapes |= {
        "spectrogram_extractor.stft.conv_real.weight": (513, 1, 1024),
        "logmel_extractor.melW": (513, 64),
        "fc1.weight": (512, 512),
        "fc_audioset.bias": (527,),
    }
    return {k: torch.tensor(7) if k.endswith("tracked") else torch.rand(shape) for k, shape in shapes.items()}


def test_load_panns_skips_front_end_and_head_and_says_so():
    state = fresh_panns_state()
    net = Cnn10(Cnn10Config())
    keys = load_panns(net, state)
    assert set(keys.used) == panns_keys()
    assert set(keys.skipped) == state.keys() - panns_keys()
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_what_a_checkpoint_lacks_keeps_its_first_values_and_is_told():
    state = fresh_panns_state() | {"stray": torch.zeros(1)}
    del state["bn0.weight"]
    net = Cnn10(Cnn10Config())
    keys = load_panns(net, state)
    assert (keys.missing, keys.unknown) == (("bn0.weight",), ("stray",))
    assert (net.bn0.weight == 1).all()
    assert torch.equal(net.bn0.bias, state["bn0.bias"])


def test_load_panns_says_what_became_of_every_key(panns_state):
    keys = load_panns(Cnn10(Cnn10Config()), panns_state)
    assert sorted(keys.used + keys.skipped) == sorted(panns_state)
    assert len(keys.used) == 53


def test_load_panns_lists_all_that_does_not_fit_and_loads_nothing():
    state = fresh_panns_state()
    del state["bn0.weight"], state["conv_block4.conv2.weight"]
    state |= {"conv_block5.conv1.weight": torch.zeros(3), "stray": torch.zeros(1)}
    state["conv_block2.bn1.bias"] = torch.zeros(129)
    net = Cnn10(Cnn10Config())
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ValueError, match="not a CNN10") as error:
        load_panns(net, state)
    message = str(error.value)
    for missing in ("bn0.weight", "conv_block4.conv2.weight"):
        assert f"missing: {missing}" in message
    for unknown in ("conv_block5.conv1.weight", "stray"):
        assert f"unknown: {unknown}" in message
    assert "shape of conv_block2.bn1.bias: (129,), wanted (128,)" in message
    assert "fc1" not in message and "logmel" not in message
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
