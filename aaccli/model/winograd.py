"""3x3 convolutions (stride 1, padding 1) by Winograd's F(4x4, 3x3) on the CPU, in float32.

The method is Lavin and Gray's (2016, "Fast Algorithms for Convolutional Neural Networks"). The code is C++, compiled
when the package is installed (build_winograd.py); where it is not, nothing here is used.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LIBRARY = Path(__file__).with_name("libwinograd.so")
MIN_CHANNELS = 32  # of the input; convolutions of fewer gain nothing

_FLOATS, _COUNT = ctypes.c_void_p, ctypes.c_int64
_SIGNATURES: dict[str, list[Any]] = {
    "pack": [_FLOATS, *[_COUNT] * 2, _FLOATS, _COUNT],
    "convolve_packed": [*[_FLOATS] * 3, *[_COUNT] * 5, _FLOATS, _COUNT],
    "convolve_once": [*[_FLOATS] * 2, *[_COUNT] * 5, ctypes.c_int, _FLOATS, _COUNT],
    "weight_gradient": [*[_FLOATS] * 2, *[_COUNT] * 5, _FLOATS, _COUNT],
}


@functools.cache
def why_not() -> str:
    """Why there are no convolutions by this method here; empty where there are."""
    if not LIBRARY.is_file():
        return "not compiled when aac was installed"
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return "the processor has no AVX2"
    try:
        _library()
    except (OSError, AttributeError) as error:
        return f"{LIBRARY.name} does not load: {error}"
    return ""


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(LIBRARY))
    for name, types in _SIGNATURES.items():
        getattr(library, name).argtypes = types
    library.packed_floats.argtypes, library.packed_floats.restype = [_COUNT, _COUNT], _COUNT
    return library


def _call(name: str, *arguments: Tensor | int) -> None:
    """Call a function of the library, which releases the GIL, with as many threads as PyTorch would take.

    Tensors are dense float32 on the CPU; they are held here until the function returns.
    """
    plain = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    if getattr(_library(), name)(*plain, torch.get_num_threads()):
        raise MemoryError(f"winograd: too little memory for {name}")


def _nhwc(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def _images(like: Tensor, channels: int) -> Tensor:
    """Room for images of as many pixels."""
    shape = (like.shape[0], channels, *like.shape[2:])
    return torch.empty(shape, dtype=torch.float32, memory_format=torch.channels_last)


def _sizes(images: Tensor, weight_shape: torch.Size) -> tuple[int, ...]:
    outputs, inputs = weight_shape[:2]
    return images.shape[0], images.shape[2], images.shape[3], inputs, outputs


def _convolve(images: Tensor, weight: Tensor, turned: bool) -> Tensor:
    """The convolution, or (``turned``) the gradient of its input from that of its output."""
    x, w = _nhwc(images), _nhwc(weight)
    y = _images(x, w.shape[1] if turned else w.shape[0])
    _call("convolve_once", x, w, *_sizes(x, w.shape), turned, y)
    return y


class _Conv3x3(torch.autograd.Function):
    """The convolution with both its gradients; saves the input and the weights, as the direct method does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, turned=False)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        dx = _convolve(gradient, weight, turned=True) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return dx, None
        dw = torch.empty_like(weight, memory_format=torch.channels_last)
        _call("weight_gradient", _nhwc(x), _nhwc(gradient), *_sizes(x, weight.shape), dw)
        return dx, dw


def _suits(x: Tensor, weight: Tensor) -> bool:
    """Whether the C++ code takes these tensors."""
    tensors_fit = all(t.dtype == torch.float32 and t.device.type == "cpu" and t.dim() == 4 for t in (x, weight))
    shapes_fit = weight.shape[2:] == (3, 3) and weight.shape[0] % 8 == 0 and x.shape[1] == weight.shape[1]
    return tensors_fit and shapes_fit and weight.shape[1] % 8 == 0 and x.numel() > 0


def conv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve with 3x3 kernels, stride 1, padding 1.

    Parameters
    ----------
    x : Tensor
        Images (B, C, H, W); best in channels_last, else they are copied.
    weight : Tensor
        Kernels (K, C, 3, 3).

    Returns
    -------
    Tensor
        Images (B, K, H, W) in channels_last. `F.conv2d` takes over if C or K is not a multiple of 8, the tensors
        are not float32 on the CPU, or this machine has not got the method.
    """
    if why_not() or not _suits(x, weight):
        return F.conv2d(x, weight, padding=1)
    return _Conv3x3.apply(x, weight)


class WinogradConv2d(nn.Conv2d):
    """A Conv2d that `use_winograd` has found suitable."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve by Winograd's method."""
        y, bias = conv3x3(x, self.weight), self.bias
        return y if bias is None else y + bias[:, None, None]


def gains(module: nn.Module, min_channels: int = MIN_CHANNELS) -> bool:
    """Whether `module` is a convolution that the C++ code computes, with enough input channels to gain by it."""
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (3, 3)
        and module.stride == (1, 1)
        and module.padding in ((1, 1), "same")
        and module.dilation == (1, 1)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and module.in_channels >= min_channels
        and module.in_channels % 8 == module.out_channels % 8 == 0
    )


def use_winograd(module: nn.Module, min_channels: int = MIN_CHANNELS) -> int:
    """Replace the forward of every suitable convolution inside `module` by conv3x3, in place.

    Parameters
    ----------
    module : nn.Module
        The network. Only the class of its convolutions changes: parameters, hooks and state_dict stay, and copies
        and pickles of the network keep the replacement.
    min_channels : int
        Convolutions of fewer input channels are left alone.

    Returns
    -------
    int
        The number of convolutions replaced.
    """
    convs = [m for m in module.modules() if gains(m, min_channels)]
    for conv in convs:
        conv.__class__ = WinogradConv2d
    return len(convs)


class PackedConv2d(nn.Module):
    """A 3x3 convolution with its bias and ReLU, for inference: the weights are transformed once.

    ``conv`` is one that ``gains``; the transformed weights take four times the memory.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.shape = conv.weight.shape
        outputs, inputs = self.shape[:2]
        self.packed = torch.zeros(_library().packed_floats(inputs, outputs))
        _call("pack", _nhwc(conv.weight.detach()), inputs, outputs, self.packed)
        self.bias = (torch.zeros(outputs) if conv.bias is None else conv.bias.detach()).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K, H, W), channels_last."""
        if x.dtype != torch.float32 or x.shape[1] != self.shape[1]:
            raise ValueError(
                f"winograd: weights for {self.shape[1]} channels of float32, not {x.shape[1]} of {x.dtype}"
            )
        y = _images(x, self.shape[0])
        _call("convolve_packed", _nhwc(x), self.packed, self.bias, *_sizes(x, self.shape), y)
        return y
