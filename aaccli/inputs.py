"""What the command line names -> sound files: files, folders, globs, lists."""

from __future__ import annotations

import codecs
import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .audio import STDIN, is_sound_file
from .errors import DataError


@dataclass(frozen=True)
class Source:
    """A file to hear, perhaps."""

    name: str  # as it was given, or the folder as it was given and the path below it
    root: str  # the folder that its place in a tree is counted from

    def identity(self) -> tuple[int, int] | None:
        """Size in bytes and modification time in ns, by which a change is noticed; None where there is no file."""
        try:
            found = Path(self.name).stat()
        except (OSError, ValueError):
            return None
        return found.st_size, found.st_mtime_ns


def find_sources(inputs: Iterable[str], recursive: bool = True) -> list[Source]:
    """The files that inputs mean, each once, in the order of the inputs.

    A file is itself, whatever its name; a folder is the sound files under it in the order of their names, hidden ones
    passed over; a pattern with ``*``, ``?`` or ``[`` that is not the name of a file is what it matches; ``-`` is
    standard input. What cannot be heard, an empty folder for one, is given as it is: hearing it says why.

    Parameters
    ----------
    inputs : iterable of str
    recursive : bool
        Whether folders are searched in depth.
    """
    found: dict[str, Source] = {}
    for source in _expand(inputs, recursive):
        found.setdefault(source.name if source.name == STDIN else os.path.abspath(source.name), source)  # noqa: PTH100
    return list(found.values())


def _expand(inputs: Iterable[str], recursive: bool) -> Iterator[Source]:
    for name in inputs:
        if name == STDIN or not glob.has_magic(name) or os.path.lexists(name):
            matches = [name]
        else:
            matches = sorted(glob.glob(name, recursive=True)) or [name]  # noqa: PTH207
        for match in matches:
            if _is_folder(Path(match)):
                folder = str(Path(match))
                yield from (Source(file, folder) for file in _search(Path(match), recursive))
            else:
                yield Source(match, str(Path(match).parent))


def _search(folder: Path, recursive: bool, above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """Sound files under a folder, links followed.

    Given as they are, for the error that hearing them gives: a folder that is linked from below itself or cannot be
    read; one that was asked for, or is named like a sound file, and has none in it.
    """
    try:
        found = folder.stat()
        here = (found.st_dev, found.st_ino)
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        yield str(folder)
        return
    if here in above:
        yield str(folder)
        return
    empty = True
    folders = []
    for entry in entries:
        if _is_folder(entry):
            folders.append(entry)
        elif is_sound_file(entry):
            empty = False
            yield str(entry)
    for inner in folders if recursive else ():
        for file in _search(inner, recursive, (*above, here)):
            empty = False
            yield file
    if empty and (not above or is_sound_file(folder)):
        yield str(folder)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # what cannot be looked at is for whoever opens it to complain of
        return False


def read_list(path: str) -> list[str]:
    """The names in a list, one a line, or with NUL between them as ``find -print0`` gives them; ``-`` is stdin.

    Names with backslashes, as Windows writes paths, are understood where no file has that very name.

    Raises
    ------
    DataError
        The list cannot be read, is UTF-16, or holds ``-``.
    """
    try:
        content = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"--files-from {path}: {error.strerror}") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # its NULs would part letters
        raise DataError(f"--files-from {path}: UTF-16, as PowerShell's > writes it; save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    names = content.split(b"\0") if b"\0" in content else content.replace(b"\r\n", b"\n").split(b"\n")
    listed = [_slashed(os.fsdecode(name)) for name in names if name.strip()]
    if STDIN in listed:
        raise DataError(f"--files-from {path}: a list names files; give - as an argument")
    return listed


def _slashed(name: str) -> str:
    slashed = name.replace("\\", "/")
    return slashed if not os.path.lexists(name) and os.path.lexists(slashed) else name
