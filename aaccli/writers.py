"""Captions to files."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from .captioning import Caption
from .errors import ConfigError

COLUMNS = ("file", "caption", "score")


class Writer(Protocol):
    """Takes captions one by one."""

    def write(self, caption: Caption) -> None: ...


class CsvWriter:
    """Rows of file, caption and score."""

    def __init__(self, path: Path) -> None:
        # surrogateescape: names that are not UTF-8 are written as the bytes they are.
        self.file = path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self.rows = csv.writer(self.file)
        self.rows.writerow(COLUMNS)

    def write(self, caption: Caption) -> None:
        self.rows.writerow((caption.file, caption.caption, f"{caption.score:.4f}"))
        self.file.flush()


@contextmanager
def writing(path: Path, overwrite: bool = False) -> Iterator[Writer]:
    """Open a writer whose file takes its place when the block ends, however it ends: what was done is kept.

    Raises
    ------
    ConfigError
        The suffix is not ``.csv``, the folder is missing, or the file is there already and ``overwrite`` is not set.
    """
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"{path}: captions are written as csv; give --out a name that ends in .csv")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: is there already; give another --out, or --overwrite")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: no folder {path.parent}")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    writer = CsvWriter(part)
    try:
        yield writer
    finally:
        writer.file.close()
        part.replace(path)
