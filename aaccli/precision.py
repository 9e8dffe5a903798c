"""Mixed precision: which numbers the forward pass computes with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from .errors import ConfigError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def pick_inference_precision(name: Precision, device: torch.device) -> torch.dtype:
    """The type that CNN10 computes captions with; ``auto`` takes half of the bits where the device is made for it.

    Raises
    ------
    ConfigError
        There is no such precision.
    """
    if name != "auto" and name not in DTYPES:
        raise ConfigError(f"precision {name}: unknown; there are auto, {', '.join(DTYPES)}")
    if name != "auto":
        return DTYPES[name]
    # To caption, vector units for bfloat16 will do.
    if device.type == "cpu" and capabilities().get("avx512_bf16"):
        return torch.bfloat16
    return _auto(device)


def pick_precision(name: Precision, device: torch.device) -> torch.dtype:
    """The type of training's forward pass. ``auto`` takes half of the bits only where the device is made for it."""
    return _auto(device) if name == "auto" else DTYPES[name]


def _auto(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        # float16 on cards before Ampere, which only imitate bfloat16.
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # Processors without matrix units for bfloat16 compute it more slowly than float32.
    if device.type == "cpu" and capabilities().get("amx_bf16"):
        return torch.bfloat16
    return torch.float32


def capabilities() -> Mapping[str, Any]:
    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}


def scaler(dtype: torch.dtype, device: torch.device) -> torch.amp.GradScaler:
    """Scales the loss up where float16 would lose small gradients; elsewhere it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
