"""Where captions go: stdout, one file, or a file for each recording; what is done is not done again."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from filelock import FileLock

from ..audio import STDIN
from ..captioning.captioner import Caption
from ..errors import ConfigError, OutputError
from ..files.locks import take
from ..files.wholefile import append_whole, beside, fitting, replace_file, reported
from ..inputs import Source
from .resume import Appender, Identity, Journal, Record
from .writers import About, Writer, make_writer

JOURNAL_SUFFIX, LOCK = ".aac", ".lock"


@dataclass(frozen=True)
class Job:
    """A file to caption."""

    place: int  # of its rows in the output
    source: Source


@dataclass(frozen=True)
class Tally:
    """How a run ended."""

    captioned: int
    failed: int
    before: int = 0  # of both, by former runs


class Output(Protocol):
    """Takes what was heard, file by file."""

    def begin(self, sources: Sequence[Source]) -> list[Job]:
        """What is left to do. Raises ConfigError or OutputError where something would be lost."""
        ...

    def join(self, rank: int, sources: Sequence[Source]) -> None:
        """Take part, after ``begin`` on rank 0, as another rank."""
        ...

    def write(self, job: Job, identity: Identity | None, caption: Caption) -> None: ...

    def finish(self) -> Tally:
        """All ranks are done."""
        ...

    def close(self) -> None:
        """Let go, at the end or before it: what was written can be taken up again."""
        ...


class StreamOutput:
    """Rows to a stream, which cannot be taken up again."""

    def __init__(self, stream: BinaryIO, writer: Writer) -> None:
        self.stream = stream
        self.writer = writer
        self.captioned = self.failed = 0
        self.open = True

    def begin(self, sources: Sequence[Source]) -> list[Job]:
        self._put(self.writer.head())
        return [Job(place, source) for place, source in enumerate(sources)]

    def join(self, rank: int, sources: Sequence[Source]) -> None:
        raise ConfigError("several processes cannot share stdout; give --out")

    def write(self, job: Job, identity: Identity | None, caption: Caption) -> None:
        self._put(self.writer.rows(caption, first=self.captioned + self.failed == 0))
        self.failed += bool(caption.error)
        self.captioned += not caption.error

    def finish(self) -> Tally:
        return Tally(self.captioned, self.failed)

    def close(self) -> None:
        if self.open:
            self._put(self.writer.foot())

    def _put(self, data: bytes) -> None:
        try:
            with reported("stdout"):
                self.stream.write(data)
                self.stream.flush()
        except (BrokenPipeError, OutputError):
            self.open = False
            raise


class _Kept:
    """What outputs with a journal have in common."""

    def __init__(self, journal: Path, settings: dict[str, Any], overwrite: bool, retry_failed: bool) -> None:
        self.journal = Journal(journal, settings)
        self.overwrite = overwrite
        self.retry_failed = retry_failed
        self.lock = FileLock(journal.with_name(f"{journal.name}{LOCK}"))
        self.appender: Appender | None = None
        self.names: set[str] = set()  # of this run's files
        self.before = 0  # of them are done already

    def _lock(self) -> None:
        with reported(self.journal.path):
            take(self.lock, OutputError(f"{self.journal.path}: another aac is at work on it; wait for its end"))

    def _plan(self, sources: Sequence[Source]) -> tuple[list[Record], list[Job]]:
        """What is done, in its new order, and what is not. Records of other files stay, ahead of this run's."""
        former = self.journal.records
        self.names = {source.name for source in sources}
        if STDIN in self.names and STDIN in former:
            raise ConfigError("this --out holds a caption of stdin already; give another --out, or --overwrite")
        places = count()
        done, todo = [], []
        for record in sorted(former.values(), key=lambda record: record.place):
            if record.caption.file not in self.names:
                done.append(replace(record, place=next(places)))
        for place, source in zip(places, sources, strict=False):
            found = former.get(source.name)
            if found and self._holds(found, source):
                done.append(replace(found, place=place))
            else:
                todo.append(Job(place, source))
        self.before = len(sources) - len(todo)
        return done, todo

    def _holds(self, record: Record, source: Source) -> bool:
        return record.identity == source.identity() and not (self.retry_failed and record.caption.error)

    def _append(self, job: Job, identity: Identity | None, caption: Caption) -> None:
        assert self.appender
        self.appender.append(Record(job.place, identity, caption))

    def join(self, rank: int, sources: Sequence[Source]) -> None:
        self.appender = self.journal.appender(rank)

    def _tally(self) -> Tally:
        results = [r.caption for name, r in self.journal.records.items() if name in self.names]
        failed = sum(bool(caption.error) for caption in results)
        return Tally(len(results) - failed, failed, self.before)

    def close(self) -> None:
        if self.appender:
            self.appender.close()
        self.lock.release()


class FileOutput(_Kept):
    """All rows in one file, in the order of the inputs."""

    def __init__(
        self, path: Path, writer: Writer, settings: dict[str, Any], overwrite: bool, retry_failed: bool
    ) -> None:
        if path.is_symlink():
            path = Path(os.path.realpath(path))  # what it leads to is the output, and what is locked
        with reported(path):
            if not path.parent.is_dir():
                raise ConfigError(f"{path}: no folder {path.parent}")
            if path.exists() and not path.is_file():  # a device or a pipe would be replaced by a file
                raise ConfigError(
                    f"{path}: is not a file; captions go on from there only in one, or to stdout without --out"
                )
        super().__init__(beside(path, JOURNAL_SUFFIX, len(LOCK)), settings, overwrite, retry_failed)
        self.path = path
        self.writer = writer
        self.file: BinaryIO | None = None
        self.end = 0  # bytes, before the foot
        self.next = 0  # place of the next rows
        self.waiting: dict[int, Caption] = {}  # done, for places after the next

    def begin(self, sources: Sequence[Source]) -> list[Job]:
        self._lock()
        goes_on = self.path.exists() and not self.overwrite
        if goes_on:
            if not self.journal.read():
                raise ConfigError(f"{self.path}: is there already; give another --out, or --overwrite")
            if not self._is_as_drawn():
                raise ConfigError(f"{self.path}: was changed since aac wrote it; move it away, or --overwrite")
        done, todo = self._plan(sources)
        if goes_on:
            self._keep_common(done)
        else:
            self.journal.remove()
        self.journal.start(done)
        self._draw()
        self.appender = self.journal.appender()
        return todo

    def _keep_common(self, done: Sequence[Record]) -> None:
        """Cut the file to what both journals begin with, the former and the one that comes: either can then draw it."""
        former, now = (list(self._drawing(records)) for records in (self.journal.records.values(), done))
        common = [ours for ours, _ in takewhile(lambda both: both[0] == both[1], zip(former, now, strict=False))]
        if len(common) < len(former):
            replace_file(self.path, [*common, self.writer.foot()])

    def _is_as_drawn(self) -> bool:
        """Whether the file is what the journal says, or the beginning of that, as a crash leaves it."""
        with reported(self.path):
            content = self.path.read_bytes()
        drawn, foot = b"".join(self._drawing(self.journal.records.values())), self.writer.foot()
        return any(drawn.startswith(content.removesuffix(foot[:n])) for n in range(len(foot) + 1))

    def _drawing(self, records: Iterable[Record]) -> Iterator[bytes]:
        """Head and rows up to the first place that is not done."""
        yield self.writer.head()
        for place, record in enumerate(sorted(records, key=lambda record: record.place)):
            if record.place != place:
                break
            yield self.writer.rows(record.caption, first=place == 0)

    def _draw(self) -> None:
        drawing = list(self._drawing(self.journal.records.values()))
        self.next, self.end = len(drawing) - 1, sum(map(len, drawing))
        later = (r for r in self.journal.records.values() if r.place >= self.next)
        self.waiting = {record.place: record.caption for record in later}
        replace_file(self.path, [*drawing, self.writer.foot()])
        with reported(self.path):
            if self.file:
                self.file.close()
            self.file = self.path.open("r+b", buffering=0)

    def write(self, job: Job, identity: Identity | None, caption: Caption) -> None:
        self._append(job, identity, caption)
        if self.file is None:
            return  # another rank's: rank 0 draws it
        self.waiting[job.place] = caption
        rows = []
        while self.next in self.waiting:
            rows.append(self.writer.rows(self.waiting.pop(self.next), first=self.next == 0))
            self.next += 1
        if rows:
            with reported(self.path):
                self.file.seek(self.end)
            foot = self.writer.foot()
            append_whole(self.file, b"".join(rows) + foot, self.path, over=foot)
            self.end += sum(map(len, rows))

    def finish(self) -> Tally:
        self.journal.read()
        if self.next < len(self.journal.records):  # other ranks have done the rest
            self._draw()
        self.journal.start(list(self.journal.records.values()))
        return self._tally()

    def close(self) -> None:
        if self.file:
            self.file.close()
        super().close()


class FolderOutput(_Kept):
    """A file beside each recording's place in the same tree."""

    def __init__(
        self, folder: Path, kind: str, about: About, settings: dict[str, Any], overwrite: bool, retry_failed: bool
    ) -> None:
        with reported(folder):
            folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder / JOURNAL_SUFFIX, settings, overwrite, retry_failed)
        self.folder = folder
        self.kind = kind
        self.about = replace(about, bare=True)
        self.targets: dict[str, Path] = {}  # by the name of the recording

    def begin(self, sources: Sequence[Source]) -> list[Job]:
        self._lock()
        self._place(sources)
        if self.overwrite:
            self.journal.remove()
        self.journal.read()
        done, todo = self._plan(sources)
        if not self.overwrite:
            self._check_unwritten(todo)
        for job in todo:  # or a journal without them would find them there
            target = self.targets[job.source.name]
            with reported(target):
                target.unlink(missing_ok=True)
        self.journal.start(done)
        self.appender = self.journal.appender()
        for record in done:
            if record.caption.file in self.targets and not self.targets[record.caption.file].exists():
                self._draw(record.caption)
        return todo

    def _place(self, sources: Sequence[Source]) -> None:
        """Find where each file's captions go: those of ``rec/a/b.wav``, found in ``rec/``, to ``a/b.srt``.

        Where two would go to one place, as of ``b.wav`` and ``b.mp3``, each keeps its suffix: ``b.wav.srt``.
        """
        try:
            root = os.path.commonpath([os.path.abspath(source.root) for source in sources])  # noqa: PTH100
        except ValueError as error:  # drives of Windows
            raise ConfigError(
                f"{self.folder}: the inputs have no folder in common; caption one drive at a time"
            ) from error
        paths = {s.name: Path(os.path.relpath(os.path.abspath(s.name), root)) for s in sources}  # noqa: PTH100
        stems = {name: path.with_suffix("") for name, path in paths.items()}
        while shared := self._sharing(stems):
            if all(stems[name] == paths[name] for name in shared):
                raise ConfigError(
                    f"{' and '.join(shared[:2])}: their captions would be one file in {self.folder}, for its disk does "
                    "not tell such names apart; give an --out on another disk, or a file"
                )
            stems |= {name: paths[name] for name in shared}
        self.targets = {
            name: self.folder / stem.with_name(fitting(stem.name, f".{self.kind}")) for name, stem in stems.items()
        }

    def _sharing(self, stems: dict[str, Path]) -> list[str]:
        """The names of recordings whose places are those of others too."""
        lock = Path(self.lock.lock_file)
        folds = lock.with_name(lock.name.swapcase()).exists()  # as disks of Macs and Windows, and memory cards
        keys = {name: _folded(stem) if folds else str(stem) for name, stem in stems.items()}
        times = Counter(keys.values())
        return [name for name, key in keys.items() if times[key] > 1]

    def _check_unwritten(self, todo: Sequence[Job]) -> None:
        """What lies where captions will be written must be what the journal says was written there."""
        strange = []
        for name in (job.source.name for job in todo):
            record, target = self.journal.records.get(name), self.targets[name]
            if target.exists() and not (record and target.read_bytes() == b"".join(self._drawing(record.caption))):
                strange.append(target)
        if strange:
            more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
            raise ConfigError(f"{strange[0]}{more}: there already; give another --out, or --overwrite")

    def join(self, rank: int, sources: Sequence[Source]) -> None:
        self._place(sources)
        super().join(rank, sources)

    def write(self, job: Job, identity: Identity | None, caption: Caption) -> None:
        self._append(job, identity, caption)
        self._draw(caption)

    def _draw(self, caption: Caption) -> None:
        if not caption.windows:
            return
        target = self.targets[caption.file]
        with reported(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, self._drawing(caption))

    def _drawing(self, caption: Caption) -> list[bytes]:
        writer = make_writer(self.kind, self.about)
        return [writer.head(), writer.rows(caption, first=True), writer.foot()]

    def finish(self) -> Tally:
        self.journal.read()
        self.journal.start(list(self.journal.records.values()))
        return self._tally()


def _folded(path: Path) -> str:
    """The same for names that differ in nothing but case, or in how letters with marks are composed."""
    return unicodedata.normalize("NFC", str(path)).casefold()
