"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import OutputError


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """What the system refuses, a full disk for one, is an OutputError that names the file."""
    try:
        yield
    except BrokenPipeError:
        raise  # nobody reads any more: no fault of the output
    except OSError as error:
        raise OutputError(f"{path}: cannot be written or read ({error.strerror or error})") from error


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


def append_whole(file: BinaryIO, data: bytes, path: Path) -> None:
    """Write to an unbuffered file in one call of the system, more only if it takes no more."""
    with reported(path):
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
