"""What people see on stderr: errors, progress, results of training."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .control import CONTROL
from .errors import AacError, ConfigError

stderr = Console(stderr=True, soft_wrap=True, highlight=False)

# Messages may name files: no name moves the cursor or colours what follows. Lines and tabs are the messages' own.
SHOWN = {code: text for code, text in CONTROL.items() if chr(code) not in "\t\n"}
FAILED, USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143  # exit codes; the last two as a shell tells of the signals
PLAIN_SECONDS = 30.0  # between two lines of progress where stderr is no terminal


class Terminated(KeyboardInterrupt):
    """SIGTERM has come: a scheduler, a container or a shutdown asks for the end."""


def code_of(interrupt: KeyboardInterrupt) -> int:
    """The exit code of what was interrupted: 130 by Ctrl-C, 143 by SIGTERM."""
    return TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end a block as Ctrl-C does, by its way out: rows are kept, programs that were started are ended.

    Not among several processes: what waits for the others hears no signal, and the launcher would wait for it.
    """
    alone = os.environ.get("WORLD_SIZE", "1") == "1" and threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # whoever ignores it has a reason
        yield
        return

    def end(*_: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """One clear line and an exit code for what a user can mend; tracebacks with AAC_DEBUG=1.

    That is what aac raises of its own, and a file or folder that the system refuses: one may not enter it, for one.
    """
    try:
        with terminable():
            yield
    except KeyboardInterrupt as interrupt:
        error("interrupted" if code_of(interrupt) == INTERRUPTED else "terminated")
        raise typer.Exit(code_of(interrupt)) from interrupt
    except (AacError, ImportError) as problem:
        if os.environ.get("AAC_DEBUG"):
            raise
        error(str(problem))
        raise typer.Exit(USAGE if isinstance(problem, ConfigError) else FAILED) from problem
    except OSError as problem:
        if problem.filename is None or os.environ.get("AAC_DEBUG"):  # of stdout, for one, whoever called can tell more
            raise
        error(f"{os.fsdecode(problem.filename)}: {problem.strerror}")
        raise typer.Exit(FAILED) from problem


def error(message: str) -> None:
    stderr.print(f"[bold red]error:[/] {_shown(message)}")


def warn(message: str) -> None:
    stderr.print(f"[yellow]warning:[/] {_shown(message)}")


def say(message: str) -> None:
    stderr.print(_shown(message))


def _shown(message: str) -> str:
    return escape(message.translate(SHOWN))


class StepProgress:
    """A bar on a terminal; elsewhere (a log) a line every half minute."""

    def __init__(self, title: str, total: int | None, quiet: bool = False) -> None:
        self.title = title
        self.total = total
        self.quiet = quiet
        self.next_line = time.monotonic() + PLAIN_SECONDS
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=stderr,
            disable=quiet or not stderr.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task(escape(title), total=total, note="")

    def __enter__(self) -> StepProgress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, done: int, note: str = "", total: int | None = None, title: str | None = None) -> None:
        self.total, self.title = total or self.total, title or self.title
        self.bar.update(self.task, completed=done, total=self.total, note=escape(note), description=escape(self.title))
        if not stderr.is_terminal and not self.quiet and time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + PLAIN_SECONDS
            say(f"{self.title} {done}/{self.total or '?'} {note}".rstrip())
