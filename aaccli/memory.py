"""The C library's memory, told to keep what inference asks for again and again."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of malloc.h
KEPT = 1 << 30  # bytes


def keep_large_blocks() -> None:
    """Have large blocks used again instead of given back: their pages would be filled with zeros each time anew.

    With one arena, what a thread lets go of is there for all. Does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for parameter, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, KEPT)):
            mallopt(parameter, value)
