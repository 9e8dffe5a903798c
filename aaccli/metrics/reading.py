"""Files of predictions and references, and which prediction belongs to which references."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import DataError
from ..files.table import Row, read_table, read_text

# What columns and fields are called, by Clotho, DCASE's submissions, aac itself, COCO; the first that is there counts.
FILE = ("file_name", "file", "fname", "filename", "image_id")
PREDICTION = ("caption_predicted", "caption", "caption_1", "captions")
NUMBERED = re.compile(r"caption_\d+")
LISTS = ("captions", "references")
LISTED = 5  # names shown of those that have no partner


def read_predictions(path: Path) -> dict[str, str]:
    """Read a system's captions: csv, tsv, JSON or jsonl with a file and its caption in each row.

    Raises
    ------
    DataError
        It cannot be read, a column is missing, a file comes twice, or a caption is empty; with the row.
    """
    said: dict[str, str] = {}
    places: dict[str, str] = {}
    for row in _rows(path):
        name = _file(row)
        column = next((c for c in PREDICTION if c in row.values), None)
        if column is None or "caption_2" in row.values:
            raise DataError(f"{row.where}: one column caption (or caption_predicted) was expected{row.has()}")
        if name in said:
            raise DataError(f"{row.where}: {name} has a caption already, at {places[name]}")
        said[name], places[name] = _caption(row, name, row.values[column]), row.where
    return _some(said, path)


def read_references(path: Path) -> dict[str, tuple[str, ...]]:
    """Read references: ``caption_1``, ``caption_2``, ... of a file in one row, or rows of one ``caption`` each.

    JSON may have a list, ``captions``. Empty cells of ``caption_N`` mean that the file has fewer.

    Raises
    ------
    DataError
        As of ``read_predictions``.
    """
    said: dict[str, tuple[str, ...]] = {}
    places: dict[str, str] = {}
    for row in _rows(path):
        name = _file(row)
        together, single = _references(row), row.values.get("caption")
        if together is None and "caption" not in row.values:
            raise DataError(f"{row.where}: caption_1, caption_2, ... (or one caption a row) were expected{row.has()}")
        if together is not None and name in said:
            raise DataError(f"{row.where}: {name} has references already, at {places[name]}")
        if together == []:
            raise DataError(f"{row.where}: {name} has no reference")
        given = together if together is not None else [single]
        said[name] = (*said.get(name, ()), *(_caption(row, name, caption) for caption in given))
        places[name] = row.where
    return _some(said, path)


def _some(said: dict[str, Any], path: Path) -> dict[str, Any]:
    if not said:
        raise DataError(f"{path}: holds no captions")
    return said


def _references(row: Row) -> list[Any] | None:
    """The references of a row that holds all of a file; None where it holds one, as ``caption``."""
    listed = next((row.values[key] for key in LISTS if isinstance(row.values.get(key), list)), None)
    if listed is not None:
        return listed
    numbered = [column for column in row.values if NUMBERED.fullmatch(column)]
    if not numbered:
        return None
    values = [row.values[column] for column in numbered]
    return [value for value in values if value is not None and str(value).strip()]


def _file(row: Row) -> str:
    column = next((c for c in FILE if c in row.values), None)
    if column is None:
        raise DataError(f"{row.where}: a column file_name was expected{row.has()}")
    name = row.values[column]
    if not isinstance(name, str | int) or not str(name).strip():
        raise DataError(f"{row.where}: has no {column}")
    if not _can_be_written(str(name), "surrogateescape"):  # names that are not UTF-8 are bytes in aac's own JSON
        raise DataError(f"{row.where}: {name!r} holds half of a character")
    return unicodedata.normalize("NFC", str(name))


def _caption(row: Row, name: str, caption: Any) -> str:
    if isinstance(caption, list) and len(caption) == 1:
        caption = caption[0]
    if caption is not None and not isinstance(caption, str):
        raise DataError(f"{row.where}: the caption of {name} is not text: {caption!r}")
    if not caption or not any(map(str.isalnum, caption)):
        why = row.values.get("error")
        raise DataError(f"{row.where}: the caption of {name} is empty" + (f" ({why})" if why else ""))
    if not _can_be_written(caption):
        raise DataError(f"{row.where}: the caption of {name} holds half of a character: {caption!r}")
    return caption


def _can_be_written(text: str, errors: str = "strict") -> bool:
    """Whether a text is UTF-8; JSON's escapes can say what is not, half of an emoji."""
    try:
        text.encode("utf-8", errors)
    except UnicodeEncodeError:
        return False
    return True


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a file, by its suffix. Raises DataError where it cannot be read, or is of another kind."""
    kinds = {".csv": _csv_rows, ".tsv": _csv_rows, ".json": _json_rows, ".jsonl": _jsonl_rows}
    if path.suffix.lower() not in kinds:
        raise DataError(f"{path}: captions are read from {', '.join(kinds)}")
    return kinds[path.suffix.lower()](path, read_text(path))


def _csv_rows(path: Path, text: str) -> Iterator[Row]:
    header, rows = read_table(path, text)
    _file(Row(header.where, dict.fromkeys(header.values, "x")))  # an error of the header, not of its first row
    return rows


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    data = _json(path, text, 1)
    if isinstance(data, dict):
        lists = [value for value in data.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        if len(lists) == 1:  # objects beside what is said of them, as COCO's annotations or aac's own
            data = lists[0]
        else:  # a file's name -> its caption, or its references
            data = [{"file": k, "captions" if isinstance(v, list) else "caption": v} for k, v in data.items()]
    if not isinstance(data, list):
        raise DataError(f"{path}: a list of objects, or names with captions, were expected")
    for number, values in enumerate(data, start=1):
        yield _object(f"{path}: entry {number}", values)


def _jsonl_rows(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _object(f"{path}: line {number}", _json(path, line, number))


def _object(where: str, values: Any) -> Row:
    if not isinstance(values, dict):
        raise DataError(f"{where}: an object was expected")
    return Row(where, values)


def _json(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {line + error.lineno - 1}: not JSON ({error.msg})") from error
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    except RecursionError as error:
        raise DataError(f"{path}: nested too deep") from error


@dataclass(frozen=True)
class Pairs:
    """Clips with references and a caption of each system."""

    files: tuple[str, ...]  # as the references name them, in their order
    references: tuple[tuple[str, ...], ...]  # of each clip
    systems: dict[str, tuple[str, ...]]  # name -> caption of each clip
    left_out: tuple[str, ...] = ()  # what has no partner, told


def pair(
    references: Mapping[str, Sequence[str]], systems: Mapping[str, Mapping[str, str]], partial: bool = False
) -> Pairs:
    """Bring together the captions and references of each clip.

    Where no name of a system is one of the references', names are compared without their folders.

    Raises
    ------
    DataError
        A prediction has no reference or the reverse, and ``partial`` is not set; or nothing fits.
    """
    matched = {name: _match(name, captions, references) for name, captions in systems.items()}
    told = []
    for name, captions in matched.items():
        told += _unpaired(f"{name}: ", "references", captions, references)
        told += _unpaired(f"{name}: ", "prediction", references, captions)
    if told and not partial:
        raise DataError("\n".join([*told, "To score the clips that have both: --partial"]))
    files = tuple(file for file in references if all(file in captions for captions in matched.values()))
    if not files:
        raise DataError("\n".join([*told, "no clip has both"]))
    return Pairs(
        files,
        tuple(tuple(references[file]) for file in files),
        {name: tuple(captions[file] for file in files) for name, captions in matched.items()},
        tuple(told),
    )


def _unpaired(prefix: str, what: str, of: Mapping[str, Any], among: Mapping[str, Any]) -> list[str]:
    missing = [file for file in of if file not in among]
    if not missing:
        return []
    more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
    return [f"{prefix}{len(missing)} of {len(of)} files have no {what}: {', '.join(missing[:LISTED])}{more}"]


def _match(name: str, captions: Mapping[str, str], references: Mapping[str, Any]) -> Mapping[str, str]:
    """Captions under the references' names; those of Windows, with backslashes, are other ways to write the same."""
    slashed = {file.replace("\\", "/"): file for file in references}
    if len(slashed) == len(references):
        renamed = {slashed.get(file.replace("\\", "/"), file): caption for file, caption in captions.items()}
        captions = renamed if len(renamed) == len(captions) else captions
    if any(file in references for file in captions):
        return captions
    by_base: dict[str, str] = {}
    for file in references:
        base = _base(file)
        if base in by_base:
            return captions
        by_base[base] = file
    found: dict[str, str] = {}
    for file, caption in captions.items():
        known = by_base.get(_base(file), file)
        if known in found:
            raise DataError(f"{name}: two files are named {_base(file)}; name them as the references do")
        found[known] = caption
    return found


def _base(file: str) -> str:
    return PurePosixPath(file.replace("\\", "/")).name
