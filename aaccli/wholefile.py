"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import OutputError


@contextmanager
def reported(path: Path | str) -> Iterator[None]:
    """What the system refuses, a full disk for one, is an OutputError that names the file or stream."""
    try:
        yield
    except BrokenPipeError:
        raise  # nobody reads any more: no fault of the output
    except OSError as error:
        raise OutputError(f"{path}: cannot be written or read ({error.strerror or error})") from error


@contextmanager
def advised(next_step: str) -> Iterator[None]:
    """Say what to do next where an OutputError tells of a full disk."""
    try:
        yield
    except OutputError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"{error}; make room, then {next_step}") from cause
        raise


def replace_file(path: Path, chunks: Iterable[bytes], sync: bool = False) -> None:
    """Write beside a file and then move there, so that a reader sees the former content or the new one.

    With ``sync`` that holds after a power cut too.
    """
    part = path.with_name(f".{path.name}.part")  # what a crash leaves of it, the next writer takes
    with reported(path):
        try:
            with part.open("wb") as file:
                file.writelines(chunks)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def append_whole(file: BinaryIO, data: bytes, path: Path, over: bytes = b"") -> None:
    """Write to an unbuffered file in one call of the system, more only if it takes no more.

    Where that fails, the file ends as it did before: what ``data`` was written ``over`` is put back.
    """
    with reported(path):
        start, view = file.tell(), memoryview(data)
        try:
            while view:
                view = view[file.write(view) :]
        except OSError:
            with suppress(OSError):
                file.seek(start)
                file.write(over)
                file.truncate()
            raise
