"""Options that several verbs share, and what they mean."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel="Machine", show_default=False)
]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads; else all.", rich_help_panel="Machine")]
InferencePrecision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option(help="auto: as the device is best at.", rich_help_panel="Machine", show_default=False),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only on stderr.", rich_help_panel="Machine")]


def pick_device(name: str, threads: int | None) -> torch.device:
    """The device of ``--device``; sets the number of ``--threads``. Raises ConfigError where there is none."""
    import torch

    from ..errors import ConfigError

    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return device


def override(config: T, options: dict[str, Any]) -> T:
    """The config with the options that were given."""
    from ..errors import ConfigError

    try:
        return replace(config, **{name: value for name, value in options.items() if value is not None})  # type: ignore[type-var]
    except ValueError as error:
        raise ConfigError(str(error)) from error
