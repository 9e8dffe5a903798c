"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import OutputError

REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable"),
    errno.EIO: "have the disk checked",
}
NAME_BYTES = 255  # of a name, at most, on the file systems of today


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
    """Say what to do where an OutputError tells of a disk that is full, fails, or may not be written to."""
    try:
        yield
    except OutputError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in REMEDIES:
            raise OutputError(f"{error}; {REMEDIES[cause.errno]}, then {next_step}") from cause
        raise


def fitting(stem: str, suffix: str, most: int = NAME_BYTES) -> str:
    """A name of a file; one that is too long is cut, and told from its like by digits."""
    whole, end = os.fsencode(stem), os.fsencode(suffix)
    if len(whole) + len(end) <= most:
        return stem + suffix
    digits = f"~{hashlib.sha256(whole).hexdigest()[:16]}"
    cut = whole[: most - len(end) - len(digits)].decode("utf-8", "ignore")  # between two characters
    return os.fsdecode(cut.encode()) + digits + suffix  # in a locale of ASCII, the bytes as Python writes them


def beside(path: Path, suffix: str, more: int = 0) -> Path:
    """A hidden file that belongs to another; its own have ``more`` bytes in their names."""
    return path.with_name(fitting(f".{path.name}", suffix, NAME_BYTES - more))


def replace_file(path: Path, chunks: Iterable[bytes], sync: bool = False) -> None:
    """Write beside a file and then move there, so that a reader sees the former content or the new one.

    A link stays one: what it leads to is replaced. With ``sync`` all that holds after a power cut too.
    """
    if os.path.islink(path):  # noqa: PTH114 (Path's own raises where a folder may not be entered)
        path = Path(os.path.realpath(path))
    part = beside(path, ".part")  # what a crash leaves of it, the next writer takes
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
