"""Files of a data set that a csv names: below its folder, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

from .errors import DataError


def find_within(folder: Path, name: str) -> Path:
    r"""Where a name of a csv leads, whether there is a file or not.

    A csv may come from a stranger: what it makes aac read, and put into a report, is below the folder. Names with
    backslashes, as Windows writes paths, are understood where no file has that very name.

    Raises
    ------
    DataError
        It leads out of the folder: by ``..``, from the root, by a drive or by a link.
    """
    path, anchor = folder / name, ""
    if "\\" in name and not path.is_file():
        path, anchor = folder / name.replace("\\", "/"), PureWindowsPath(name).anchor
    try:
        below = os.path.relpath(os.path.abspath(path), os.path.abspath(folder))  # noqa: PTH100
        real, root = os.path.realpath(path), os.path.realpath(folder)
        leaves = anchor or Path(below).parts[:1] == (os.pardir,) or os.path.commonpath([real, root]) != root
    except ValueError:  # another drive, or a name that no file can have
        leaves = True
    if leaves:
        raise DataError(f"{name!r} leads out of {folder}; put the file there, and name it by its path from there")
    return folder / below
