"""The regularizer: distances by hand, padding that has no say, and where its gradient goes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aaccli.model.captioner import END, PAD, START, CaptionerNet
from aaccli.model.rlssr import Rlssr, RlssrConfig, average_max_pool

WIDTH = 6  # of the decoder's embeddings
FRAMES, WORDS = (5, 2, 1), (3, 4, 1)  # of three clips and their captions


def ragged_batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Heard frames and said embeddings of three clips; beyond a caption's end there is rubbish, as a decoder gives."""
    heard = torch.rand(3, max(FRAMES), 512)
    for row, frames in zip(heard, FRAMES, strict=True):
        row[frames:] = 0
    said = torch.randn(3, max(WORDS), WIDTH)
    said_mask = torch.arange(max(WORDS))[None] < torch.tensor(WORDS)[:, None]
    return heard, torch.tensor(FRAMES), said, said_mask


def pool_by_hand(frames: np.ndarray, window: int) -> np.ndarray:
    windows = [frames[start : start + window] for start in range(0, len(frames), window)]
    return np.mean([w.mean(0) + w.max(0) for w in windows], axis=0)


def distance_by_hand(name: str, a: np.ndarray, b: np.ndarray, delta: float) -> float:
    error = np.abs(a - b)
    match name:
        case "l1":
            return error.mean()
        case "l2":
            return (error**2).mean()
        case "huber":
            return np.where(error <= delta, error**2 / 2, delta * (error - delta / 2)).mean()
        case "cosine":
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            return (1 - (a * b).sum(1) / norms).mean()
    raise ValueError(name)


@torch.no_grad()
@pytest.mark.parametrize("window", [1, 2, 3, 8])
@pytest.mark.parametrize("distance", ["l1", "l2", "cosine", "huber"])
def test_distance_on_a_ragged_batch(distance, window):
    regularizer = Rlssr(RlssrConfig(distance, window, huber_delta=0.7), WIDTH)
    heard, frames, said, said_mask = ragged_batch()
    pooled = np.stack([pool_by_hand(clip[:n], window) for clip, n in zip(heard.numpy(), FRAMES, strict=True)])
    mean = np.stack([words[:n].mean(0) for words, n in zip(said.numpy(), WORDS, strict=True)])
    rebuilt = mean @ regularizer.rebuild.weight.numpy().T + regularizer.rebuild.bias.numpy()
    expected = distance_by_hand(distance, rebuilt, pooled, delta=0.7)
    assert regularizer(heard, frames, said, said_mask).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("window", [1, 2, 3, 8])
@pytest.mark.parametrize("frames", range(1, 8))
def test_pooling_is_the_same_alone_and_padded(frames, window):
    clip = torch.rand(1, frames, 4)
    longer = torch.cat((clip, torch.zeros(1, 9 - frames, 4)), 1)
    alone = average_max_pool(clip, None, window)
    torch.testing.assert_close(average_max_pool(longer, torch.tensor([frames]), window), alone)
    assert alone[0].numpy() == pytest.approx(pool_by_hand(clip[0].numpy(), window), rel=1e-5)


def test_pooling_by_hand():
    sequence = torch.tensor([[[1.0], [3.0], [2.0], [2.0], [7.0]]])
    windows = [2 + 3, 2 + 2, 7 + 7]  # average + max of (1, 3), (2, 2), (7)
    assert average_max_pool(sequence, None, 2).item() == pytest.approx(np.mean(windows))


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine", "huber"])
@pytest.mark.parametrize("stopped", [True, False])
def test_stop_gradient_spares_what_was_heard(distance, stopped):
    heard, frames, said, said_mask = ragged_batch()
    heard.requires_grad_()
    said.requires_grad_()
    Rlssr(RlssrConfig(distance, stop_gradient=stopped), WIDTH)(heard, frames, said, said_mask).backward()
    assert (heard.grad is None) == stopped
    assert (said.grad[said_mask] != 0).all()
    assert (said.grad[~said_mask] == 0).all()


def test_nothing_to_mend_where_the_rebuilt_is_the_heard():
    heard, frames, said, said_mask = ragged_batch()
    one = average_max_pool(heard[:1], frames[:1], 2)
    for distance in ("l1", "l2", "cosine", "huber"):
        regularizer = Rlssr(RlssrConfig(distance), WIDTH)
        nn.init.zeros_(regularizer.rebuild.weight)
        with torch.no_grad():
            regularizer.rebuild.bias.copy_(one[0])
        loss = regularizer(heard[:1], frames[:1], said[:1], said_mask[:1])
        assert loss.item() == pytest.approx(0, abs=1e-6)


def test_default_is_the_papers_best():
    assert RlssrConfig() == RlssrConfig("l1", pool_window=2, stop_gradient=False, huber_delta=1.0)


def losses_of(config, distance: str):
    net = CaptionerNet(dataclasses.replace(config, rlssr=RlssrConfig(distance)), 9).eval()
    memory = net.remember(torch.rand(2, 4, 512), torch.tensor([4, 3]))
    return net, net.losses(memory, torch.tensor([[START, 5, 6, END], [START, 7, END, PAD]]))


def test_none_is_zero_and_costs_no_gradient(tiny_model_config):
    net, losses = losses_of(tiny_model_config, "none")
    assert losses.rlssr.item() == 0
    assert not losses.rlssr.requires_grad
    (losses.cross_entropy + losses.rlssr).backward()
    assert net.rlssr.rebuild.weight.grad is None


def test_gradient_reaches_the_decoder(tiny_model_config):
    net, losses = losses_of(tiny_model_config, "l1")
    assert losses.rlssr.item() > 0
    losses.rlssr.backward()
    for layer in net.decoder.layers:
        assert all(p.grad.abs().sum() > 0 for name, p in layer.named_parameters() if "weight" in name)
    assert net.decoder.bias.grad is None, "it compares embeddings, not words"
