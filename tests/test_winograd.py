"""Winograd's convolution."""

from types import SimpleNamespace

import forked
import pytest
import torch
from torch import nn

from aaccli.model import winograd
from aaccli.model.winograd import PackedConv2d, conv3x3, use_winograd

needs_library = pytest.mark.skipif(bool(winograd.why_not()), reason=winograd.why_not())


@pytest.mark.skipif(not winograd.LIBRARY.is_file(), reason="not compiled")
def test_where_it_was_compiled_and_the_processor_has_avx2_it_is_there():
    capability = torch.backends.cpu.get_cpu_capability()
    assert winograd.why_not() == ("" if capability in ("AVX2", "AVX512") else "the processor has no AVX2")


def test_why_it_is_not_there(monkeypatch, tmp_path):
    why_not = winograd.why_not.__wrapped__
    monkeypatch.setattr(winograd, "LIBRARY", tmp_path / "libwinograd.so")
    monkeypatch.setattr(winograd, "_library", winograd._library.__wrapped__)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert why_not() == "not compiled when aac was installed"
    (tmp_path / "libwinograd.so").touch()
    assert why_not() == "the processor has no AVX2"
    for capability in ("AVX2", "AVX512"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        assert why_not().startswith("libwinograd.so does not load: ")


def test_too_little_memory_is_an_error(monkeypatch):
    monkeypatch.setattr(winograd, "_library", lambda: SimpleNamespace(pack=lambda *arguments: 1))
    with pytest.raises(MemoryError, match=r"^winograd: too little memory for pack$"):
        winograd._call("pack")


@needs_library
@pytest.mark.parametrize(
    ("x", "weight", "dtype", "is_computed"),
    [
        ((2, 8, 5, 6), (16, 8, 3, 3), torch.float32, True),
        ((1, 16, 1, 1), (8, 16, 3, 3), torch.float32, True),
        ((2, 8, 5, 6), (16, 8, 3, 3), torch.float64, False),
        ((2, 12, 5, 6), (16, 12, 3, 3), torch.float32, False),
        ((2, 8, 5, 6), (12, 8, 3, 3), torch.float32, False),
        ((2, 8, 5, 6), (16, 8, 1, 3), torch.float32, False),
        ((2, 8, 5, 6), (16, 8, 3, 5), torch.float32, False),
        ((0, 8, 5, 6), (16, 8, 3, 3), torch.float32, False),
        ((8, 5, 6), (16, 8, 3, 3), torch.float32, False),
    ],
)
def test_what_suits_is_computed_here_and_the_rest_by_pytorch(monkeypatch, x, weight, dtype, is_computed):
    called, call = [], winograd._call
    monkeypatch.setattr(winograd, "_call", lambda name, *arguments: called.append(name) or call(name, *arguments))
    images, kernels = torch.randn(x, dtype=dtype), torch.randn(weight, dtype=dtype)
    expected = nn.functional.conv2d(images, kernels, padding=1)
    torch.testing.assert_close(conv3x3(images, kernels), expected, rtol=1e-4, atol=1e-4)
    assert called == ["convolve_once"] * is_computed


@needs_library
def test_images_of_other_channels_are_left_to_pytorch_to_refuse():
    with pytest.raises(RuntimeError, match="channels"):
        conv3x3(torch.randn(2, 16, 5, 6), torch.randn(16, 8, 3, 3))


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(a, b, 3, padding=1, bias=b == 8) for a, b in ((1, 32), (32, 40), (40, 8))]
    return nn.Sequential(*layers, nn.Conv2d(8, 8, 3, padding=1)).to(memory_format=torch.channels_last)


def test_only_convolutions_that_gain_are_replaced():
    assert use_winograd(network()) == 2
    assert use_winograd(nn.Conv2d(64, 64, 3, padding=1, bias=False, stride=2)) == 0
    assert use_winograd(nn.Conv2d(64, 64, 5, padding=1, bias=False)) == 0


def test_what_winograd_does_not_take_goes_the_common_way():
    x, weight = torch.randn(1, 4, 5, 6), torch.randn(3, 4, 3, 3)
    assert torch.equal(conv3x3(x, weight), nn.functional.conv2d(x, weight, padding=1))


@needs_library
def test_winograd_gives_the_same_values_and_gradients():
    plain, fast = network(), network()
    use_winograd(fast)
    x = torch.randn(2, 1, 13, 9)
    for net in (plain, fast):
        net(x).square().mean().backward()
    assert torch.allclose(fast(x), plain(x), atol=1e-5)
    for expected, got in zip(plain.parameters(), fast.parameters(), strict=True):
        assert torch.allclose(got.grad, expected.grad, rtol=1e-3, atol=1e-4 * float(expected.grad.abs().max()))


@needs_library
@pytest.mark.parametrize("outputs", [8, 16, 40])
def test_packed_weights_give_convolution_bias_and_relu(outputs):
    torch.manual_seed(0)
    conv = nn.Conv2d(32, outputs, 3, padding=1)
    x = torch.randn(2, 32, 13, 9)
    with torch.no_grad():
        assert torch.allclose(PackedConv2d(conv)(x), conv(x).relu(), atol=1e-5)
        conv.bias = None
        assert torch.allclose(PackedConv2d(conv)(x), conv(x).relu(), atol=1e-5)
        assert PackedConv2d(conv)(x * torch.nan).isnan().all()


@needs_library
def test_packed_weights_refuse_another_number_of_channels():
    with pytest.raises(ValueError, match="32 channels"):
        PackedConv2d(nn.Conv2d(32, 16, 3, padding=1))(torch.randn(1, 24, 8, 8))
    with pytest.raises(ValueError, match=r"not 32 of torch\.float64"):
        PackedConv2d(nn.Conv2d(32, 16, 3, padding=1))(torch.randn(1, 32, 8, 8).double())


def test_without_the_library_the_common_way_is_taken(monkeypatch):
    monkeypatch.setattr(winograd, "why_not", lambda: "not compiled")
    net = network()
    expected = net(x := torch.randn(2, 1, 13, 9))
    assert use_winograd(net) == 2
    assert torch.equal(net(x), expected)


@needs_library
def test_nothing_in_the_process_flushes_small_numbers():
    loads = "import torch; from aaccli.model import winograd; assert not winograd.why_not()"
    code = f"{loads}; print((torch.tensor([1e-40]) * 1).item() > 0)"
    assert forked.run(code).stdout.strip() == "True"
