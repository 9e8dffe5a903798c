"""Unpack archives that nobody has to trust: no entry leaves the folder, and nothing is left half done.

An archive is unpacked into a hidden folder beside its place, which is then moved there.
"""

from __future__ import annotations

import lzma
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import FetchError
from ..watching import Progress, Watch, nobody
from .download import CHUNK

MEMBER_BYTES = 1 << 30  # a jar of CoreNLP is a third of that


class NoRoomError(FetchError):
    """The disk is too small to unpack on; the archive may be sound."""


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the place of ``folder`` if the block ends without an error."""
    fresh = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)  # of a run that was killed
    fresh.mkdir(parents=True)
    try:
        yield fresh
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check_names(archive: Path, names: Sequence[str]) -> None:
    """Refuse names that would leave the folder they are unpacked into, on any system; raises FetchError."""
    for name in names:
        posix, windows = PurePosixPath(name), PureWindowsPath(name)
        if posix.is_absolute() or windows.anchor or ".." in windows.parts or "\0" in name or not windows.parts:
            raise FetchError(f"{archive}: the entry {name!r:.80} would leave the folder; nothing was unpacked")


def check_room(folder: Path, needed: int) -> None:
    """Raises NoRoomError where the disk of a folder has less than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoRoomError(f"{folder}: {needed:,} bytes are needed to unpack, {free:,} are free; free some room")


def unpack_from_zip(archive: Path, names: Sequence[str], folder: Path, watch: Watch = nobody) -> None:
    """Take these files out of a zip, wherever in it they are; CRCs are checked.

    Raises
    ------
    FetchError
        One is missing, the zip is damaged, or the disk is too small.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            found = {PurePosixPath(member.filename).name: member for member in packed.infolist()}
            missing = [name for name in names if name not in found]
            if missing:
                raise FetchError(f"{archive}: holds no {', no '.join(missing)}; fetch it again")
            members = [found[name] for name in names]
            total = sum(member.file_size for member in members)
            if any(member.file_size > MEMBER_BYTES for member in members):
                raise FetchError(f"{archive}: would unpack to {total:,} bytes, too many to be right")
            check_room(folder, total)
            done = 0
            for name, member in zip(names, members, strict=True):
                with packed.open(member) as source, (folder / name).open("wb") as target:
                    while chunk := source.read(CHUNK):  # never more than file_size, and the CRC at its end
                        target.write(chunk)
                        done += len(chunk)
                        watch(Progress(archive.name, done, total, "unpacking"))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise FetchError(f"{archive}: damaged ({error}); fetch it again") from error


def unpack_7z(archive: Path, folder: Path, watch: Watch = nobody) -> None:
    """Unpack all of a 7z archive; CRCs are checked, links and special files refused.

    Raises
    ------
    FetchError
        An entry would leave the folder, the archive is damaged, or the disk is too small.
    """
    import py7zr

    try:
        with py7zr.SevenZipFile(archive) as packed:
            entries = packed.files
            check_names(archive, [entry.filename for entry in entries])
            for entry in entries:
                if entry.is_symlink or entry.is_junction or not (entry.is_file or entry.is_directory):
                    raise FetchError(
                        f"{archive}: {entry.filename!r:.80} is a link or a special file; nothing was unpacked"
                    )
            total = sum(entry.uncompressed for entry in entries)
            check_room(folder, total)
            packed.extractall(folder, callback=_told(archive.name, total, watch))
    except (py7zr.exceptions.ArchiveError, lzma.LZMAError, EOFError, ValueError, TypeError, IndexError) as error:
        raise FetchError(f"{archive}: damaged ({type(error).__name__} {error}); fetch it again") from error


def _told(name: str, total: int, watch: Watch) -> object:
    """py7zr's kind of callback, telling who watches."""
    from py7zr.callbacks import ExtractCallback

    def ignore(self: object, *_: object) -> None:
        """Nothing to tell."""

    done = 0

    def update(self: object, decompressed_bytes: str) -> None:
        nonlocal done
        done += int(decompressed_bytes)
        watch(Progress(name, done, total, "unpacking"))

    others = ("start_preparation", "start", "end", "warning", "postprocess")
    methods: dict[str, Callable[..., None]] = {f"report_{what}": ignore for what in others}
    return type("Told", (ExtractCallback,), {**methods, "report_update": update})()
