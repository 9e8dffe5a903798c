"""Encoder and decoder against torch's own layers, the cache, the masks, and the losses of the whole network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aaccli.model.captioner import END, PAD, START, CaptionerNet, ModelConfig
from aaccli.model.cnn10 import Cnn10Config
from aaccli.model.rlssr import RlssrConfig
from aaccli.model.transformer import Attention, DecoderLayer, Encoder, EncoderLayer, TransformerConfig, positions

WORDS = 11
TINY = TransformerConfig(width=16, heads=2, feed_forward=32, dropout=0.0)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def net(tiny_model_config) -> CaptionerNet:
    return CaptionerNet(tiny_model_config, WORDS).eval()


def heard(*lengths: int) -> tuple[Tensor, Tensor]:
    """CNN10's output for clips of so many frames, the shorter ones padded with zeros."""
    sequence = torch.rand(len(lengths), max(lengths), 512)
    for row, length in zip(sequence, lengths, strict=True):
        row[length:] = 0
    return sequence, torch.tensor(lengths)


def attention_of(ours: Attention) -> dict[str, Tensor]:
    return {
        "in_proj_weight": torch.cat((ours.query.weight, ours.key_value.weight)),
        "in_proj_bias": torch.cat((ours.query.bias, ours.key_value.bias)),
        "out_proj.weight": ours.out.weight,
        "out_proj.bias": ours.out.bias,
    }


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": value for key, value in state.items()}


def feed_forward_of(ours: nn.Sequential) -> dict[str, Tensor]:
    return prefixed("linear1", ours[0].state_dict()) | prefixed("linear2", ours[3].state_dict())


def randomise(module: nn.Module) -> None:
    """Norms and biases too: they start as identity and zero, where a mistake would not show."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)


@torch.no_grad()
def test_encoder_layer_is_torchs_pre_norm_layer():
    ours = EncoderLayer(TINY).eval()
    randomise(ours)
    theirs = nn.TransformerEncoderLayer(16, 2, 32, 0.0, F.gelu, batch_first=True, norm_first=True).eval()
    state = prefixed("self_attn", attention_of(ours.attention)) | feed_forward_of(ours.feed_forward)
    for name in ("norm1", "norm2"):
        state |= prefixed(name, ours.get_submodule(name).state_dict())
    theirs.load_state_dict(state)
    x = torch.randn(2, 5, 16)
    inside = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    expected = theirs(x, src_key_padding_mask=~inside)
    actual = ours(x, inside[:, None, None, :])
    torch.testing.assert_close(actual[inside], expected[inside], **CLOSE)


@torch.no_grad()
def test_decoder_layer_is_torchs_pre_norm_layer():
    ours = DecoderLayer(TINY).eval()
    randomise(ours)
    theirs = nn.TransformerDecoderLayer(16, 2, 32, 0.0, F.gelu, batch_first=True, norm_first=True).eval()
    state = prefixed("self_attn", attention_of(ours.self_attention)) | feed_forward_of(ours.feed_forward)
    state |= prefixed("multihead_attn", attention_of(ours.cross_attention))
    for name in ("norm1", "norm2", "norm3"):
        state |= prefixed(name, ours.get_submodule(name).state_dict())
    theirs.load_state_dict(state)
    x, memory = torch.randn(2, 4, 16), torch.randn(2, 3, 16)
    later = torch.ones(4, 4, dtype=torch.bool).triu(1)
    expected = theirs(x, memory, tgt_mask=later)
    actual, _ = ours(x, ours.start(memory), ~later[None, None], None)
    torch.testing.assert_close(actual, expected, **CLOSE)


def test_positions_are_those_of_vaswani():
    width, length = 16, 40
    place, channel = np.arange(length)[:, None], np.arange(0, width, 2)
    expected = np.zeros((length, width))
    expected[:, 0::2] = np.sin(place / 10000 ** (channel / width))
    expected[:, 1::2] = np.cos(place / 10000 ** (channel / width))
    assert positions(0, length, width, torch.device("cpu")).numpy() == pytest.approx(expected, abs=1e-5)


def test_positions_go_on_where_the_cache_ends():
    device = torch.device("cpu")
    assert torch.equal(positions(5, 3, 16, device), positions(0, 8, 16, device)[5:])


@torch.no_grad()
@pytest.mark.parametrize("split", [(1, 1, 1, 1, 1, 1), (2, 4), (3, 1, 2)])
def test_decoding_with_the_cache_is_decoding_at_once(net, split):
    memory = net.remember(*heard(4, 7))
    words = torch.randint(4, WORDS, (2, 6))
    at_once, _ = net.decoder(words, net.decoder.start(memory.encoded), memory.inside)
    caches, parts = net.decoder.start(memory.encoded), []
    for part in words.split(split, dim=1):
        embeddings, caches = net.decoder(part, caches, memory.inside)
        parts.append(embeddings)
    torch.testing.assert_close(torch.cat(parts, 1), at_once, **CLOSE)


@torch.no_grad()
def test_step_gives_log_probabilities_of_the_next_word(net):
    memory = net.remember(*heard(4, 7))
    words = torch.randint(4, WORDS, (2, 3))
    logprobs, _ = net.step(words, net.decoder.start(memory.encoded), memory.inside)
    embeddings, _ = net.decoder(words, net.decoder.start(memory.encoded), memory.inside)
    logits = embeddings[:, -1].numpy() @ net.decoder.embedding.weight.numpy().T + net.decoder.bias.numpy()
    assert logprobs.numpy() == pytest.approx(logits - np.log(np.exp(logits).sum(1, keepdims=True)), abs=1e-4)


@torch.no_grad()
def test_no_word_sees_a_later_word(net):
    memory = net.remember(*heard(5))
    words = torch.randint(4, WORDS, (1, 6))
    before, _ = net.decoder(words, net.decoder.start(memory.encoded), None)
    for place in range(6):
        changed = words.clone()
        changed[0, place] = (changed[0, place] - 3) % (WORDS - 4) + 4
        after, _ = net.decoder(changed, net.decoder.start(memory.encoded), None)
        differs = (after - before)[0].abs().amax(1)
        assert (differs[:place] < 1e-5).all()
        assert (differs[place:] > 1e-4).all(), "each word sees itself and those before it"


@torch.no_grad()
def test_the_cache_of_one_step_outlives_the_next(net):
    memory = net.remember(*heard(5))
    _, caches = net.decoder(torch.tensor([[START]]), net.decoder.start(memory.encoded), None)
    first, _ = net.step(torch.tensor([[5]]), caches, None)
    net.step(torch.tensor([[6]]), caches, None)
    again, _ = net.step(torch.tensor([[5]]), caches, None)
    assert torch.equal(first, again)


@torch.no_grad()
def test_encoder_gives_the_same_alone_and_beside_longer_clips(net):
    sequence, lengths = heard(3, 9, 1)
    sequence[0, 3:] = 1e3  # the mask, not the zeros, must keep padding out
    together = net.remember(sequence, lengths)
    for clip, length in enumerate(lengths.tolist()):
        alone = net.remember(sequence[clip : clip + 1, :length])
        torch.testing.assert_close(together.encoded[clip, :length], alone.encoded[0], **CLOSE)
        assert together.inside[clip].sum() == length


@torch.no_grad()
def test_the_decoder_hears_no_padding(net):
    sequence, lengths = heard(3, 9)
    together = net.remember(sequence, lengths)
    together.encoded[0, 3:] = 1e3
    alone = net.remember(sequence[:1, :3])
    words = torch.tensor([[START, 5, 6, 7]])
    expected, _ = net.decoder(words, net.decoder.start(alone.encoded), None)
    actual, _ = net.decoder(words.repeat(2, 1), net.decoder.start(together.encoded), together.inside)
    torch.testing.assert_close(actual[:1], expected, **CLOSE)


def test_without_encoder_layers_frames_do_not_mix():
    encoder = Encoder(dataclasses.replace(TINY, encoder_layers=0), 512).eval()
    sequence = torch.rand(2, 6, 512)
    changed = sequence.clone()
    changed[:, 3] += torch.rand(512)
    differs = (encoder(changed, None) - encoder(sequence, None)).abs().amax((0, 2))
    assert differs.nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_gradient_reaches_every_layer(tiny_model_config, layers):
    transformer = dataclasses.replace(tiny_model_config.transformer, encoder_layers=layers, decoder_layers=layers + 1)
    net = CaptionerNet(dataclasses.replace(tiny_model_config, transformer=transformer), WORDS).eval()
    losses = net.losses(net.encode(torch.randn(2, 40, 64)), captions(2))
    (losses.cross_entropy + losses.rlssr).backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == [], "key biases apart, which softmax cancels"


def captions(count: int, longest: int = 5) -> Tensor:
    """Captions of different length from START to END, then PAD."""
    rows = []
    for i in range(count):
        words = torch.randint(4, WORDS, (max(1, longest - i),)).tolist()
        rows.append([START, *words, END] + [PAD] * (longest - len(words)))
    return torch.tensor(rows)


@torch.no_grad()
def test_cross_entropy_is_the_mean_over_words_and_end(net):
    sequence, lengths = heard(4, 6, 5)
    said = captions(3)
    surprise = []
    for clip, length in enumerate(lengths.tolist()):
        memory = net.remember(sequence[clip : clip + 1, :length])
        row = said[clip][said[clip] != PAD].tolist()
        for place in range(1, len(row)):
            logprobs, _ = net.step(torch.tensor([row[:place]]), net.decoder.start(memory.encoded), None)
            surprise.append(-logprobs[0, row[place]].item())
    assert len(surprise) == 5 + 4 + 3 + 3
    together = net.losses(net.remember(sequence, lengths), said).cross_entropy.item()
    assert together == pytest.approx(np.mean(surprise), abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("distance", ["l1", "l2", "cosine", "huber", "none"])
def test_losses_ignore_padding_of_captions(tiny_model_config, distance):
    net = CaptionerNet(dataclasses.replace(tiny_model_config, rlssr=RlssrConfig(distance)), WORDS).eval()
    memory, said = net.remember(*heard(4, 6)), captions(2)
    short = net.losses(memory, said)
    long = net.losses(memory, F.pad(said, (0, 7), value=PAD))
    torch.testing.assert_close(long.cross_entropy, short.cross_entropy, **CLOSE)
    torch.testing.assert_close(long.rlssr, short.rlssr, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("distance", ["l1", "l2", "cosine", "huber"])
def test_losses_ignore_padding_of_clips(tiny_model_config, distance):
    net = CaptionerNet(dataclasses.replace(tiny_model_config, rlssr=RlssrConfig(distance)), WORDS).eval()
    logmel, lengths, said = torch.randn(2, 61, 64) * 20 - 40, torch.tensor([35, 61]), captions(2)
    short = net.losses(net.encode(logmel, lengths), said)
    long = net.losses(net.encode(F.pad(logmel, (0, 0, 0, 70), value=13.0), lengths), said)
    torch.testing.assert_close(long.cross_entropy, short.cross_entropy, **CLOSE)
    torch.testing.assert_close(long.rlssr, short.rlssr, **CLOSE)
    alone = [net.losses(net.encode(logmel[i : i + 1, :n]), said[i : i + 1]) for i, n in enumerate((35, 61))]
    assert short.rlssr.item() == pytest.approx(np.mean([part.rlssr.item() for part in alone]), abs=1e-4)


@torch.no_grad()
def test_repeated_memory_gives_each_clip_its_captions(net):
    memory, said = net.remember(*heard(4, 6)), captions(4)
    together = net.losses(memory.repeat(2), said)
    sequence, lengths = memory.heard, memory.lengths
    rows = torch.tensor([0, 0, 1, 1])
    expected = net.losses(net.remember(sequence[rows], lengths[rows]), said)
    torch.testing.assert_close(together.cross_entropy, expected.cross_entropy, **CLOSE)
    torch.testing.assert_close(together.rlssr, expected.rlssr, **CLOSE)


def test_default_sizes_are_the_papers():
    config = ModelConfig()
    assert (config.transformer.width, config.transformer.encoder_layers, config.transformer.decoder_layers) == (
        192,
        2,
        2,
    )
    assert (config.front_end.sample_rate, config.front_end.window, config.front_end.hop) == (44100, 1024, 512)
    assert config.cnn10 == Cnn10Config(dropout=0.2)
    assert config.rlssr.distance == "l1"
