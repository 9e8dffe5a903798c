"""The network that is ready for inference computes what the trained one does."""

import copy

import pytest
import torch
from test_cnn10 import randomise_batch_norms
from test_winograd import needs_library

from aaccli.model import winograd
from aaccli.model.captioner import CaptionerNet, ModelConfig
from aaccli.model.cnn10 import Cnn10, Cnn10Config
from aaccli.model.prepared import prepare

both_ways = pytest.mark.parametrize("direct", [True, pytest.param(False, marks=needs_library)], indirect=True)


@pytest.fixture
def direct(request, monkeypatch):
    """Without Winograd's convolutions where it is true."""
    if request.param:
        monkeypatch.setattr(winograd, "why_not", lambda: "not compiled")
    return request.param


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = CaptionerNet(ModelConfig(), 20).eval()
    randomise_batch_norms(net.cnn10)
    return net


def frames(*lengths):
    torch.manual_seed(1)
    return torch.randn(len(lengths), max(lengths), 64) * 10 - 40, torch.tensor(lengths)


@torch.no_grad()
@both_ways
def test_float32_is_the_same_function(net, direct):
    logmel, lengths = frames(90, 37, 64)
    kinds = {type(module).__name__ for module in prepare(net, torch.float32).modules()}
    assert ("PackedConv2d" in kinds) != direct
    expected, got = net.encode(logmel, lengths), prepare(net, torch.float32).encode(logmel, lengths)
    scale = float(expected.heard.abs().max())
    assert torch.allclose(got.heard, expected.heard, rtol=0, atol=1e-5 * scale)
    assert torch.allclose(got.encoded, expected.encoded, rtol=0, atol=1e-5 * float(expected.encoded.abs().max()))
    assert torch.equal(got.lengths, expected.lengths)


@torch.no_grad()
@both_ways
def test_a_network_that_was_trained_in_this_process_is_the_same_function(net, direct):
    trained = copy.deepcopy(net)
    winograd.use_winograd(trained.cnn10)
    heard = prepare(trained, torch.float32).listen(*frames(48))[0]
    expected = net.listen(*frames(48))[0]
    assert torch.allclose(heard, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
@both_ways
def test_a_clip_is_the_same_bits_with_one_thread_and_two_alone_and_beside_others(net, direct):
    ready = prepare(net, torch.float32)
    logmel, lengths = frames(90, 90, 90)
    torch.set_num_threads(1)
    one = ready.listen(logmel[:1])[0]
    torch.set_num_threads(2)
    assert torch.equal(ready.listen(logmel[:1])[0], one)
    assert torch.allclose(ready.listen(logmel, lengths)[0][:1], one, rtol=1e-5, atol=1e-5 * float(one.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_of_the_bits_is_near_and_comes_out_as_float32(net, dtype):
    logmel, lengths = frames(48, 33)
    ready = prepare(net, dtype)
    heard = ready.listen(logmel, lengths)[0]
    expected = net.listen(logmel, lengths)[0]
    assert heard.dtype == torch.float32
    assert 0 < float((heard - expected).abs().max()) < 0.05 * float(expected.abs().max())


def test_the_trained_network_stays_as_it_is(net):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    cnn10 = net.cnn10
    ready = prepare(net, torch.bfloat16)
    assert net.cnn10 is cnn10
    assert isinstance(ready.cnn10, Cnn10) and ready.cnn10 is not cnn10
    assert ready.decoder is net.decoder
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.dtype == torch.float32 for p in net.parameters())
    assert Cnn10(Cnn10Config()).state_dict().keys() == cnn10.state_dict().keys()
