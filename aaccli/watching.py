"""How far a fetch is, for whoever watches; apart, so that to name it costs no import of the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far one file is, as told to whoever watches."""

    file: str
    done: int  # bytes
    total: int | None
    note: str = ""  # what is being done, or why there is a wait


Watch = Callable[[Progress], None]


def nobody(progress: Progress) -> None:
    """Watch nothing."""
