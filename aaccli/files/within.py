"""Files of a data set that a csv names: below its folder, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

from ..errors import DataError


def find_within(folder: Path, name: str) -> Path:
    r"""Where a name of a csv leads, whether there is a file or not.

    A csv may come from a stranger: what it makes aac read, and put into a report, is below the folder. Names with
    backslashes, as Windows writes paths, are understood where no file has that very name.

    Links in the folder are followed, wherever they lead: who laid out the data set put them there.

    Raises
    ------
    DataError
        It leads out of the folder: by ``..``, from the root, or by a drive.
    """
    path, anchor = folder / name, ""
    if "\\" in name and not os.path.isfile(path):  # noqa: PTH113 (Path's own raises where a name is too long)
        path, anchor = folder / name.replace("\\", "/"), PureWindowsPath(name).anchor
    try:
        below = os.path.relpath(os.path.abspath(path), os.path.abspath(folder))  # noqa: PTH100
    except ValueError:  # another drive
        below = os.pardir
    if anchor or "\0" in name or Path(below).parts[:1] == (os.pardir,):
        raise DataError(f"{name!r} leads out of {folder}; put the file there, and name it by its path from there")
    return folder / below
