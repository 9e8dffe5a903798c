"""Mixed precision: which numbers the forward pass computes with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .errors import ConfigError
from .training import TrainingConfig


def pick_precision(config: TrainingConfig, device: torch.device) -> torch.dtype:
    """The type of the forward pass. ``auto`` takes half of the bits only where the device is made for it.

    Raises
    ------
    ConfigError
        Winograd convolutions are wanted where there are none.
    """
    dtype = _auto(device) if config.precision == "auto" else getattr(torch, config.precision)
    if config.winograd:
        if config.precision == "auto" and device.type == "cpu":
            return torch.float32
        if device.type != "cpu" or dtype != torch.float32:
            raise ConfigError("--winograd is for float32 on a processor: --device cpu --precision float32")
    return dtype


def _auto(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        # float16 on cards before Ampere, which only imitate bfloat16.
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # Processors without matrix units for bfloat16 compute it more slowly than float32.
    if device.type == "cpu" and _capabilities().get("amx_bf16"):
        return torch.bfloat16
    return torch.float32


def _capabilities() -> Mapping[str, Any]:
    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}


def scaler(dtype: torch.dtype, device: torch.device) -> torch.amp.GradScaler:
    """Scales the loss up where float16 would lose small gradients; elsewhere it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
