"""One aac at a time at what it writes. A process that was killed holds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import AacError, ConfigError
from .wholefile import reported


def take(lock: FileLock, busy: AacError) -> None:
    """Take a lock at once; raises ``busy`` where another process has it."""
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise busy from error


@contextmanager
def held(lock: Path, busy: AacError) -> Iterator[None]:
    """Keep other processes out while a block runs.

    Raises
    ------
    AacError
        ``busy``, where another is in.
    OutputError
        The lock cannot be written.
    """
    file = FileLock(lock)
    with reported(lock):
        take(file, busy)
    try:
        yield
    finally:
        # Nothing is left beside the outputs. Who opened it before will find it gone, and make a new one.
        with suppress(OSError):
            lock.unlink()
        file.release()


@contextmanager
def training_in(out: Path) -> Iterator[None]:
    """Make the folder of a run, and keep other processes from training in it. One that stays empty is taken away.

    Raises
    ------
    ConfigError
        Another trains in it.
    OutputError
        The folder cannot be made or written to.
    """
    with reported(out):
        is_new = not out.exists()
        out.mkdir(parents=True, exist_ok=True)
    busy = ConfigError(f"{out}: another aac trains in it; wait for its end, or give another --out")
    try:
        with held(out / ".lock", busy):
            yield
    finally:
        if is_new:
            with suppress(OSError):  # holds something
                out.rmdir()
