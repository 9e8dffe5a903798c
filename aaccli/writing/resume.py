"""The journal of a run: what is done, so that a later run goes on from there.

Beside ``captions.csv`` lies ``.captions.csv.aac``, in a folder of captions ``.aac``. It is JSON lines: first the
settings that decide what a caption is, then a record for each file that is done, with all that was heard in it, written
before anything of it reaches the output. So the journal is the truth and the output a picture of it, which can be drawn
again at any time. Invariants:

- A record is appended in one write. A line that a crash tore is no record: its file is heard again. Where that is the
  first line, nothing was done yet.
- A record counts while its file has the same size and modification time.
- Ranks that work together keep a journal each, ``.captions.csv.aac.1`` and so on, of the same layout; whoever opens the
  journal next takes them in, however many they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..captioning.captioner import Alternative, Caption, Window
from ..errors import AudioError, ConfigError, OutputError
from ..files.wholefile import append_whole, replace_file, reported

VERSION = 1  # of the layout
BEGINNING = b'{"aac": %d,' % VERSION  # of its first line
Identity = tuple[int, int]  # size in bytes, modification time in ns


@dataclass(frozen=True)
class Record:
    """One file that is done."""

    place: int  # in the order of the output
    identity: Identity | None  # of the file that was heard; None where there was none
    caption: Caption

    def to_json(self) -> bytes:
        windows = [asdict(window) for window in self.caption.windows]
        error = str(self.caption.error) if self.caption.error else None
        heard = {"file": self.caption.file, "windows": windows, "error": error, "not_finite": self.caption.not_finite}
        return _line({"place": self.place, "identity": self.identity, **heard})

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        windows = [
            Window(**{**window, "alternatives": tuple(Alternative(**a) for a in window["alternatives"])})
            for window in data["windows"]
        ]
        error = None if data["error"] is None else AudioError(data["error"])
        caption = Caption(data["file"], tuple(windows), error, data["not_finite"])
        identity = None if data["identity"] is None else (data["identity"][0], data["identity"][1])
        return cls(data["place"], identity, caption)


class Journal:
    """The records of the file at ``path`` and of its parts; opened once by whoever may write the output."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings
        self.records: dict[str, Record] = {}  # by the name of the file

    def read(self) -> bool:
        """Take in what earlier runs left; False if they left nothing.

        Raises
        ------
        ConfigError
            The journal is of other settings.
        OutputError
            It cannot be read.
        """
        for path in (*self._parts(), self.path):  # what the journal itself says holds
            if path.exists():
                self._read(path)
        return self.path.exists()

    def _read(self, path: Path) -> None:
        with reported(path):
            content = path.read_bytes()
        if _is_torn_head(content):
            return
        lines = content.split(b"\n")
        head = _parsed(lines[0])
        if not isinstance(head, dict) or head.get("aac") != VERSION:
            raise OutputError(f"{path}: not a journal that this aac can read; give another --out, or --overwrite")
        self._check(head.get("settings"), path)
        for line in lines[1:]:
            try:
                record = Record.from_json(_parsed(line))
            except (TypeError, KeyError, IndexError):
                continue  # torn: as if it had not been written
            self.records[record.caption.file] = record

    def _check(self, settings: Any, path: Path) -> None:
        ours = json.loads(json.dumps(self.settings))
        if settings == ours:
            return
        former = settings if isinstance(settings, dict) else {}
        names = [name for name in {**ours, **former} if ours.get(name) != former.get(name)]
        changes = ", ".join(f"{name} {former.get(name)}, now {ours.get(name)}" for name in names)
        raise ConfigError(f"{path}: was begun with other settings ({changes}); give another --out, or --overwrite")

    def start(self, records: Iterable[Record]) -> None:
        """Begin again with these records alone, and without parts."""
        self.records = {record.caption.file: record for record in records}
        head = _line({"aac": VERSION, "settings": self.settings})
        replace_file(self.path, [head, *(record.to_json() for record in self.records.values())])
        with reported(self.path):
            for part in self._parts():
                part.unlink()

    def remove(self) -> None:
        with reported(self.path):
            for path in (self.path, *self._parts()):
                path.unlink(missing_ok=True)

    def appender(self, rank: int = 0) -> Appender:
        """Where new records go: the journal itself, or a rank's part of it."""
        if rank == 0:
            return Appender(self.path)
        part = self.path.with_name(f"{self.path.name}.{rank}")
        replace_file(part, [_line({"aac": VERSION, "settings": self.settings})])
        return Appender(part)

    def _parts(self) -> list[Path]:
        prefix = f"{self.path.name}."
        if not self.path.parent.is_dir():
            return []
        named = (p for p in self.path.parent.iterdir() if p.name.startswith(prefix))
        return sorted(p for p in named if p.name[len(prefix) :].isdigit())


class Appender:
    """Adds records to the end of a file, each in one write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with reported(path):
            self.file = path.open("ab", buffering=0)

    def append(self, record: Record) -> None:
        append_whole(self.file, record.to_json(), self.path)

    def close(self) -> None:
        self.file.close()


def _is_torn_head(content: bytes) -> bool:
    """Whether a journal ends within its first line."""
    return b"\n" not in content and BEGINNING.startswith(content[: len(BEGINNING)])


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\n"


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
