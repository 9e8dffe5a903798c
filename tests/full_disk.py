"""A disk on which the n-th write, and all that follow, find no room: what a real one does, at every place in turn.

Only what happens below a folder counts: making a file or a folder, writing, fsync, renaming.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Full:
    """Counts what takes room; refuses from the ``at``-th on, after half of a write has gone through."""

    def __init__(self, folder: Path, at: int) -> None:
        self.folder, self.at, self.count = os.fspath(folder), at, 0

    def take(self, path: Any, once: bool = False) -> None:
        """``once``: a rename back finds the room that the name had before."""
        if not os.path.abspath(os.fsdecode(path)).startswith(self.folder):  # noqa: PTH100
            return
        self.count += 1
        if self.refuses and not (once and self.count > self.at):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @property
    def refuses(self) -> bool:
        return 0 < self.at <= self.count


@contextmanager
def filling_up(folder: Path, at: int = 0) -> Iterator[Full]:
    """Fill the disk below a folder at the ``at``-th step; 0: never, only count."""
    disk = Full(folder, at)
    files: dict[int, Any] = {}

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            if not data or ("a" not in self.mode and self.tell() + len(data) <= os.fstat(self.fileno()).st_size):
                return super().write(data)  # nothing, or over what is there: takes no room
            before = disk.count
            try:
                disk.take(self.name)
            except OSError:
                if before + 1 == disk.at and len(data) > 1:
                    return super().write(memoryview(data)[: len(data) // 2])  # the last that there is room for
                raise
            return super().write(data)

    def opened(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None,
               newline: Any = None, *rest: Any, **named: Any) -> Any:  # fmt: skip
        if isinstance(file, int) or not set(mode) & set("wax+"):
            return real_open(file, mode, buffering, encoding, errors, newline, *rest, **named)
        if not os.path.exists(file):  # noqa: PTH110
            disk.take(file)
        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        files[raw.fileno()] = raw
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def made(path: Any, flags: int, *rest: Any, **named: Any) -> int:  # a lock
        if flags & os.O_CREAT and not os.path.lexists(path):
            disk.take(path)
        return real_os_open(path, flags, *rest, **named)

    def taking(function: Callable[..., Any], place: int) -> Callable[..., Any]:
        def guarded(*arguments: Any, **named: Any) -> Any:
            path = arguments[place]
            if function.__name__ == "mkdir" and os.path.isdir(path):  # noqa: PTH112
                return function(*arguments, **named)  # refuses whether there is room or not
            if not isinstance(path, int) or path in files:
                disk.take(files[path].name if isinstance(path, int) else path, once=place == 1)
            return function(*arguments, **named)

        return guarded

    real_open, real_os_open = io.open, os.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", opened)
        patch.setattr("builtins.open", opened)
        patch.setattr(os, "open", made)
        for name, place in (("rename", 1), ("replace", 1), ("mkdir", 0), ("fsync", 0)):
            patch.setattr(os, name, taking(getattr(os, name), place))
        patch.setattr(shutil, "_USE_CP_SENDFILE", False)
        yield disk
