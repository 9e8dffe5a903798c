"""The network made ready for inference: the same function, computed faster. Training never sees any of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from . import winograd
from .captioner import CaptionerNet
from .cnn10 import ConvBlock, blank_padding

M = TypeVar("M", bound=nn.Module)


class ConvRelu(nn.Module):
    """A convolution with its batch norm folded into it, then ReLU, in one precision."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.conv = conv.to(dtype).to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, frames, mels) to (B, outputs, frames, mels)."""
        return F.relu_(self.conv(x.to(self.dtype)))


class PreparedBlock(nn.Module):
    """A block of CNN10; what it gives is of type ``gives``."""

    def __init__(self, block: ConvBlock, dtype: torch.dtype, gives: torch.dtype) -> None:
        super().__init__()
        self.gives = gives
        self.layer1 = _layer(block.conv1, block.bn1, dtype)
        self.layer2 = _layer(block.conv2, block.bn2, dtype)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, inputs, frames, mels) to (B, outputs, frames // 2, mels // 2)."""
        return F.avg_pool2d(self.layer2(blank_padding(self.layer1(x), lengths)), 2).to(self.gives)


def _layer(conv: nn.Conv2d, bn: nn.BatchNorm2d, dtype: torch.dtype) -> nn.Module:
    folded = fuse_conv_bn_eval(conv, bn)
    on_processor = folded.weight.device.type == "cpu" and dtype == torch.float32
    if on_processor and not winograd.why_not() and winograd.gains(folded):
        return winograd.PackedConv2d(folded)
    return ConvRelu(folded, dtype)


@torch.no_grad()
def prepare(net: CaptionerNet, dtype: torch.dtype) -> CaptionerNet:
    """Make a network ready for inference; convolutions in float32 on a processor are Winograd's where they are there.

    Parameters
    ----------
    net : CaptionerNet
        In eval mode; it stays as it is, and shares its transformers with the result.
    dtype : torch.dtype
        What CNN10, nearly all of the work, computes with. All else is float32.

    Returns
    -------
    CaptionerNet
        For inference only.
    """
    blocks = {name: block for name, block in net.cnn10.named_children() if isinstance(block, ConvBlock)}
    types = [dtype] * (len(blocks) - 1) + [torch.float32]
    ready = {
        name: PreparedBlock(block, dtype, gives) for (name, block), gives in zip(blocks.items(), types, strict=True)
    }
    return _with_parts(net, {"cnn10": _with_parts(net.cnn10, ready)})


def _with_parts(module: M, parts: Mapping[str, nn.Module]) -> M:
    """A module with some of its parts exchanged; the others are shared."""
    other = copy.copy(module)
    other._modules = {**module._modules, **parts}
    return other
