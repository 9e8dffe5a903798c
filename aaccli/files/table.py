"""Tables in csv and tsv files, as people, programs and the spreadsheets of any country write them."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}  # ; where commas are decimal points


@dataclass(frozen=True)
class Row:
    """A row of a table, or an object of a JSON file."""

    where: str  # file and line, to begin an error with
    values: Mapping[str, Any]

    def has(self) -> str:
        """Its columns, to end an error with."""
        return f"; it has {', '.join(map(str, self.values)) or 'nothing'}"


def read_text(path: Path) -> str:
    """Read UTF-8, with or without its mark; raises DataError that names the line where it is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"{path}: UTF-16, not UTF-8; save it as UTF-8") from error
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}: line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save it as UTF-8") from error


def read_table(path: Path, text: str | None = None) -> tuple[Row, Iterator[Row]]:
    """Its header and its rows; what a row lacks is empty. Rows without any text, as spreadsheets leave them, are none.

    Fields are parted by tabs in a tsv. In a csv by commas, or where its header has none by semicolons or tabs.

    Raises
    ------
    DataError
        It cannot be read, a column comes twice, or a row has more fields than there are columns.
    """
    rows = _rows(path, read_text(path) if text is None else text)
    return next(rows, Row(f"{path}: line 1", {})), rows


def _rows(path: Path, text: str) -> Iterator[Row]:
    delimiter = _delimiter(path, text)
    header: list[str] = []
    for line, cells in _cells(path, text, delimiter):
        where = f"{path}: line {line}"
        if not header:
            header = [cell.strip() for cell in cells]
            twice = [name for name, count in Counter(header).items() if count > 1 and name]
            if twice:
                raise DataError(f"{where}: column {twice[0]} comes twice")
            yield Row(where, dict.fromkeys(filter(None, header), ""))
            continue
        if any(cells[len(header) :]):
            raise DataError(
                f"{where}: {len(cells)} fields where the first line has {len(header)}; "
                f"quote captions with {DELIMITERS[delimiter]}"
            )
        filled = cells + [""] * (len(header) - len(cells))
        yield Row(where, {name: cell for name, cell in zip(header, filled, strict=False) if name})


def _cells(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that have any text, with the line that each begins in."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    begins = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: not a csv file ({error})") from error


def _delimiter(path: Path, text: str) -> str:
    """What parts fields: names of columns hold none of what may."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    _, header = next(_cells(path, text, ","), (1, []))
    found = [delimiter for delimiter in DELIMITERS if delimiter in "".join(header)]
    return found[0] if len(header) == 1 and found else ","
