"""Captions as subtitles: sound descriptions in brackets, equal neighbours as one cue."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ..captioning.captioner import Window

ARROW = re.compile("-{2,}>")
LINE = 42  # characters; the width that subtitle guidelines agree on


def cues(windows: Iterable[Window]) -> Iterator[Window]:
    """Windows as cues: neighbours of the same caption are one, and a cue ends where the next begins."""
    before: Window | None = None
    for window in windows:
        if before is None:
            before = window
        elif window.caption == before.caption and window.start <= before.end:
            before = replace(before, end=window.end)
        else:
            yield replace(before, end=min(before.end, window.start))
            before = window
    if before is not None:
        yield before


def srt(windows: Sequence[Window]) -> str:
    """SubRip: number, times, text, an empty line."""
    # An arrow in a text would be read as times, a longer one too.
    return "".join(
        f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n{ARROW.sub('->', _text(cue.caption))}\n\n"
        for number, cue in enumerate(cues(windows), start=1)
    )


def vtt(windows: Sequence[Window]) -> str:
    """The cues of WebVTT, which come after its head."""
    return "".join(
        f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}\n{_escape(_text(cue.caption))}\n\n" for cue in cues(windows)
    )


def _time(seconds: float, point: str) -> str:
    """Hours (two digits or more), minutes, seconds, thousandths."""
    thousandths = round(1000 * seconds)
    rest, thousandths = divmod(thousandths, 1000)
    minutes, rest = divmod(rest, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}{point}{thousandths:03}"


def _text(caption: str) -> str:
    return "\n".join(textwrap.wrap(f"[{' '.join(caption.split())}]", LINE))


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
