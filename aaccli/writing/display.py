"""What people see of captions on a terminal: lines as they come, progress below them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from .. import console
from ..captioning.captioner import Caption, Heard, Window
from ..inputs import Source
from .outputs import Job, StreamOutput
from .resume import Identity
from .writers import About, printable
from .writers import Text as TextWriter


def caption_line(said: Caption | Window, before: str = "") -> Text:
    """A caption as people see it; the one place where that is decided.

    Parameters
    ----------
    said : Caption or Window
        Has a caption and its score.
    before : str
        The file or the time, if it needs to be told.
    """
    line = Text(f"{printable(before)}  " if before else "", style="dim")
    line.append(Text(printable(said.caption), style="not dim"))
    window = said.best if isinstance(said, Caption) else said
    if window and window.is_doubtful:
        line.append(Text(f"  (unsure, {window.probability:.0%})", style="yellow not dim"))
    return line


class Display:
    """Errors and warnings, captions as they come, a bar on a terminal; a line every half minute in a log."""

    def __init__(self, bar: bool, quiet: bool, verbose: bool) -> None:
        self.sizes: dict[str, int] = {}
        self.echo = True  # captions are shown here, because rows go elsewhere
        self.quiet = quiet
        self.verbose = verbose
        self.lively = bar and not quiet and console.stderr.is_terminal
        self.files = 0
        self.bytes = 0.0
        self.seconds = 0.0  # of sound
        self.began = time.monotonic()
        self.next_line = self.began + console.PLAIN_SECONDS
        self.bar = Progress(
            TextColumn("captioning"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("left"),
            console=console.stderr,
            disable=not self.lively,
            transient=True,
            redirect_stdout=False,  # or rows for a pipe would land on the terminal
        )
        self.task = self.bar.add_task("", total=None, note="")

    def expect(self, sources: Sequence[Source]) -> None:
        """What will be heard: its bytes are what the time left is reckoned from."""
        self.sizes = {source.name: (source.identity() or (0, 0))[0] for source in sources}
        self.bar.update(self.task, total=sum(self.sizes.values()) or None)

    def __enter__(self) -> Display:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def heard(self, heard: Heard) -> None:
        """A window of a file that is still being heard."""
        window = heard.window
        longer = heard.seconds is not None and heard.seconds > window.end
        if (self.verbose or self.lively) and (window.start > 0 or longer):
            console.stderr.print(caption_line(window, f"  {_clock(window.start)}-{_clock(window.end)}"))
        share = min(1.0, window.end / heard.seconds) if heard.seconds else 0.0
        self._update(self.bytes + share * self.sizes.get(heard.file, 0), self.seconds + window.end)

    def done(self, caption: Caption) -> None:
        """A file."""
        if caption.windows and self.echo and (self.lively or self.verbose):
            console.stderr.print(caption_line(caption, caption.file))
        if caption.not_finite and not self.quiet:
            console.warn(
                printable(f"{caption.file}: {caption.not_finite} samples are NaN, infinite or absurd, heard as silence")
            )
        if caption.error:
            console.error(printable(str(caption.error)))
        self.files += 1
        self.bytes += self.sizes.get(caption.file, 0)
        self.seconds += caption.end
        self._update(self.bytes, self.seconds)

    def _update(self, done: float, seconds: float) -> None:
        speed = seconds / max(time.monotonic() - self.began, 1e-3)
        note = f"{self.files}/{len(self.sizes)} files, {speed:.0f} h of sound an hour"
        self.bar.update(self.task, completed=done, note=note)
        if not console.stderr.is_terminal and not self.quiet and time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + console.PLAIN_SECONDS
            console.say(f"captioning {note}")


class TerminalOutput(StreamOutput):
    """Captions for people: what stdout gets where it is a terminal and no format was asked for."""

    def __init__(self, about: About, display: Display) -> None:
        super().__init__(sys.stdout.buffer, TextWriter(about))
        self.bare = about.bare
        display.echo = False
        # Where both are one terminal, only what goes through the console of the bar comes out above the bar.
        self.console = console.stderr if console.stderr.is_terminal else Console(soft_wrap=True, highlight=False)

    def write(self, job: Job, identity: Identity | None, caption: Caption) -> None:
        if caption.windows:
            self.console.print(caption_line(caption, "" if self.bare else caption.file))
        self.failed += bool(caption.error)
        self.captioned += not caption.error


def _clock(seconds: float) -> str:
    """0:00:30"""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
