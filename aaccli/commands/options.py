"""Options that several verbs share, and what they mean."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from ..errors import ConfigError
from ..limits import check_ranges

if TYPE_CHECKING:
    from ..model.beam import DecodingConfig

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


def override(config: T, options: dict[str, Any]) -> T:
    """The config with the options that were given."""
    try:
        return replace(config, **{name: value for name, value in options.items() if value is not None})  # type: ignore[type-var]
    except ValueError as error:
        raise ConfigError(str(error)) from error


def decode_as(own: DecodingConfig, options: dict[str, Any]) -> DecodingConfig:
    """A model's own decoding with the options that were given, none of them so large that it would never end."""
    decoding = override(own, options)
    check_ranges(decoding, "decoding")
    return decoding
