"""Captions as text: txt, json, jsonl, csv, tsv, srt, vtt behind one interface."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..captioning.captioner import Caption, Window
from ..control import CONTROL
from ..errors import ConfigError
from .subtitles import srt, vtt

COLUMNS = ("file", "start", "end", "caption", "score", "error")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet calculate
ONE_LINE = CONTROL | {ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"}


class Writer(Protocol):
    """How captions become the bytes of a file: a head, something for each caption, a foot."""

    def head(self) -> bytes: ...

    def rows(self, caption: Caption, first: bool) -> bytes:
        """What one file adds; ``first`` if nothing came before it."""
        ...

    def foot(self) -> bytes: ...


@dataclass(frozen=True)
class About:
    """What a writer may say of the run as a whole."""

    model: dict[str, str] = field(default_factory=dict)
    version: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    bare: bool = False  # one file was named: its caption needs no name before it


class Text:
    """A line for each file: its name, a tab, the caption of the whole; failures are left to stderr."""

    def __init__(self, about: About) -> None:
        self.bare = about.bare

    def head(self) -> bytes:
        return b""

    def rows(self, caption: Caption, first: bool) -> bytes:
        if not caption.windows:
            return b""
        line = printable(caption.caption)
        return encoded(f"{line}\n" if self.bare else f"{printable(caption.file)}\t{line}\n")

    def foot(self) -> bytes:
        return b""


class Table:
    """A row for each window, or for a file's error. What a spreadsheet would calculate begins with an apostrophe."""

    def __init__(self, about: About, dialect: str = "excel", mark: bytes = b"") -> None:
        self.dialect = dialect
        self.mark = mark

    def head(self) -> bytes:
        return self.mark + self._line(COLUMNS)

    def rows(self, caption: Caption, first: bool) -> bytes:
        name, error = _no_formula_name(caption.file), _no_formula(str(caption.error or ""))
        lines = [
            (name, f"{w.start:.3f}", f"{w.end:.3f}", _no_formula(w.caption), f"{w.score:.4f}", error)
            for w in caption.windows
        ]
        return b"".join(map(self._line, lines or [(name, "", "", "", "", error)]))

    def foot(self) -> bytes:
        return b""

    def _line(self, cells: Sequence[str]) -> bytes:
        line = io.StringIO(newline="")
        csv.writer(line, self.dialect).writerow(cells)
        return encoded(line.getvalue())


def _csv(about: About) -> Table:
    return Table(about, "excel", b"\xef\xbb\xbf")  # without the mark, Excel takes UTF-8 for Latin-1


def _tsv(about: About) -> Table:
    return Table(about, "excel-tab")


class JsonLines:
    """An object a line for each window, or for a file's error, with the fields of the table."""

    def __init__(self, about: About) -> None:
        pass

    def head(self) -> bytes:
        return b""

    def rows(self, caption: Caption, first: bool) -> bytes:
        error = {"error": str(caption.error) if caption.error else None}
        objects = [{"file": caption.file, **_of_window(w), **error} for w in caption.windows]
        nothing = {"file": caption.file, "start": None, "end": None, "caption": None, "score": None, **error}
        return b"".join(_json(o) + b"\n" for o in objects or [nothing])

    def foot(self) -> bytes:
        return b""


class Json:
    """One object: model, version, options, and the results, a file each with its windows."""

    def __init__(self, about: About) -> None:
        self.about = about

    def head(self) -> bytes:
        about = {"model": self.about.model, "version": self.about.version, "options": self.about.options}
        return _json(about)[:-1] + b', "results": ['

    def rows(self, caption: Caption, first: bool) -> bytes:
        heard = caption.best
        result = {
            "file": caption.file,
            "start": caption.windows[0].start if heard else None,
            "end": round(caption.end, 3) if heard else None,
            "caption": heard.caption if heard else None,
            "score": round(heard.score, 4) if heard else None,
            **(_probability(heard) if heard else {}),
            "error": str(caption.error) if caption.error else None,
            "windows": [_of_window(w) for w in caption.windows],
        }
        return (b"\n" if first else b",\n") + _json(result)

    def foot(self) -> bytes:
        return b"\n]}\n"


class Subtitles:
    """Cues of one recording."""

    def __init__(self, about: About, vtt_instead: bool = False) -> None:
        self.vtt = vtt_instead

    def head(self) -> bytes:
        return b"WEBVTT\n\n" if self.vtt else b""

    def rows(self, caption: Caption, first: bool) -> bytes:
        return encoded((vtt if self.vtt else srt)(caption.windows))

    def foot(self) -> bytes:
        return b""


def _vtt(about: About) -> Subtitles:
    return Subtitles(about, vtt_instead=True)


FORMATS: dict[str, Callable[[About], Writer]] = {
    "txt": Text,
    "json": Json,
    "jsonl": JsonLines,
    "csv": _csv,
    "tsv": _tsv,
    "srt": Subtitles,
    "vtt": _vtt,
}
OF_ONE_FILE = ("srt", "vtt")  # their times count from the start of one recording
WITH_ALTERNATIVES = ("json", "jsonl")


def format_of(path: Path) -> str:
    """The format that a name's suffix asks for; raises ConfigError where it is none."""
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: its suffix is no format; give --format {'|'.join(FORMATS)}")
    return suffix


def make_writer(kind: str, about: About) -> Writer:
    """A writer of one of FORMATS."""
    return FORMATS[kind](about)


def printable(text: str) -> str:
    """A text on one line, that moves no cursor and colours nothing."""
    return text.translate(ONE_LINE)


def encoded(text: str) -> bytes:
    """UTF-8; names that are not UTF-8 are written as the bytes they are."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a character that stands for no byte, as Windows allows in names
        return text.encode("utf-8", "backslashreplace")


def _of_window(window: Window) -> dict[str, Any]:
    others = [{"caption": o.caption, "score": round(o.score, 4)} for o in window.alternatives]
    return {
        "start": round(window.start, 3),
        "end": round(window.end, 3),
        "caption": window.caption,
        "score": round(window.score, 4),
        **_probability(window),
        **({"alternatives": others} if others else {}),
    }


def _probability(window: Window) -> dict[str, float]:
    return {} if window.probability is None else {"probability": round(window.probability, 3)}


def _json(data: Any) -> bytes:
    # Of a name that is not UTF-8, what cannot be encoded becomes \udcXX: to JSON, the escape of just that.
    return json.dumps(data, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _no_formula_name(name: str) -> str:
    """The same file by a name that is no formula; ``-`` alone is stdin."""
    return f"./{name}" if name.startswith(FORMULA) and name != "-" else name
