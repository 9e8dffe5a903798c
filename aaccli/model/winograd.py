"""3x3 convolutions (stride 1, padding 1) by Winograd's F(4x4, 3x3) on the CPU, in float32.

The method is Lavin and Gray's (2016, "Fast Algorithms for Convolutional Neural Networks").
"""

import functools
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError

MIN_CHANNELS = 32  # of the input; convolutions of fewer gain nothing


@functools.cache
def _extension() -> ModuleType:
    """Build the C++ extension on first use (about 30 s; PyTorch keeps the build for the next process)."""
    # It warns of a CUDA that is half there; this has nothing to do with CUDA.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.cpp_extension import load

    # No -ffast-math: GCC would link code that makes the whole process flush denormals; the kernels do not need it.
    flags = ["-O3", "-march=native", "-fopenmp"]
    source = str(Path(__file__).with_name("winograd.cpp"))
    return load("winograd_cpu", [source], extra_cflags=flags, extra_ldflags=["-fopenmp"])


def require() -> None:
    """Make sure that the extension is there; builds it if need be.

    Raises
    ------
    ConfigError
        It cannot be built.
    """
    try:
        _extension()
    except (RuntimeError, OSError, ImportError) as error:
        why = str(error).strip().splitlines()[0]
        raise ConfigError(f"--winograd needs a C++ compiler and ninja (pip install ninja): {why}") from error


class _Conv3x3(torch.autograd.Function):
    """The convolution with both its gradients; saves the input and the weights, as the direct method does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _extension().convolution(x, weight, False)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        dx = _extension().convolution(gradient, weight, True) if ctx.needs_input_grad[0] else None
        dw = _extension().weight_gradient(x, gradient) if ctx.needs_input_grad[1] else None
        return dx, dw


def _suits(x: Tensor, weight: Tensor) -> bool:
    """Whether the C++ code takes these tensors."""
    tensors_fit = all(t.dtype == torch.float32 and t.device.type == "cpu" and t.dim() == 4 for t in (x, weight))
    shapes_fit = weight.shape[2:] == (3, 3) and weight.shape[0] % 8 == 0 and weight.shape[1] % 8 == 0
    return tensors_fit and shapes_fit and x.numel() > 0


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
        Images (B, K, H, W) in channels_last. `F.conv2d` takes over if C or K is not a multiple of 8, or the tensors
        are not float32 on the CPU.
    """
    if not _suits(x, weight):
        return F.conv2d(x, weight, padding=1)
    return _Conv3x3.apply(x, weight)


class WinogradConv2d(nn.Conv2d):
    """A Conv2d that `use_winograd` has found suitable."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve by Winograd's method."""
        return conv3x3(x, self.weight)


def gains(module: nn.Module, min_channels: int = MIN_CHANNELS) -> bool:
    """Whether `module` is a convolution that the C++ code computes, with enough input channels to gain by it."""
    return (
        type(module) is nn.Conv2d
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
    convs = [m for m in module.modules() if gains(m, min_channels) and m.bias is None]
    for conv in convs:
        conv.__class__ = WinogradConv2d
    return len(convs)


class PackedConv2d(nn.Module):
    """A 3x3 convolution with its bias and ReLU, for inference: the weights are transformed once.

    ``conv`` is one that ``gains``; the transformed weights take four times the memory.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.packed = _extension().pack(conv.weight.detach())
        self.bias = (torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K, H, W), channels_last."""
        return _extension().convolve_packed(x, self.packed, self.bias)
