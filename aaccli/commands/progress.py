"""Progress of files that are fetched, and the one-line calls that find weights with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from .. import console

if TYPE_CHECKING:
    from .. import watching

SHOWN_AFTER = 0.5  # seconds: what is quicker needs no bar


@contextmanager
def fetch_progress(quiet: bool = False) -> Iterator[watching.Watch]:
    """A bar with speed and time left on a terminal; elsewhere (a log) a line every half minute."""
    on_terminal = console.stderr.is_terminal and not quiet
    began, next_line, last_note = time.monotonic(), 0.0, ""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console.stderr,
        transient=True,
    )
    task, shown = None, ("", "")

    def watch(progress: watching.Progress) -> None:
        nonlocal task, shown, next_line, last_note
        waits = progress.note not in ("", "checking", "unpacking", "reading a sample")
        if waits and progress.note != last_note and not quiet:
            console.say(f"{progress.file}: {progress.note}")
            last_note = progress.note
        if on_terminal:
            if time.monotonic() - began < SHOWN_AFTER:
                return
            bar.start()
            title = progress.file if waits else f"{progress.note} {progress.file}".strip()
            if task is None or shown != (progress.file, title):
                if task is not None:
                    bar.remove_task(task)
                # What was there before does not count for the speed.
                task = bar.add_task(escape(title), total=progress.total, completed=progress.done)
                shown = progress.file, title
            bar.update(task, completed=progress.done, total=progress.total)
        elif not quiet and not waits and time.monotonic() >= next_line:
            if next_line:
                share = f" of {size(progress.total)}" if progress.total else ""
                console.say(f"{progress.note or 'fetching'} {progress.file}: {size(progress.done)}{share}")
            next_line = time.monotonic() + console.PLAIN_SECONDS

    try:
        yield watch
    finally:
        if on_terminal:
            bar.stop()


def size(count: int) -> str:
    """Bytes for people.

    >>> size(999), size(25_237_595), size(4_541_582_263)
    ('999 B', '25.2 MB', '4.54 GB')
    """
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if count >= 10**power:
            return f"{count / 10**power:.3g} {unit}"
    return f"{count} B"


def init_path(name: str, quiet: bool = False) -> Path | None:
    """What ``--init`` names, fetched if need be."""
    from ..fetching.weights import find_init

    with fetch_progress(quiet) as watch:
        return find_init(name, watch)
