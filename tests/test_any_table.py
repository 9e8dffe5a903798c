"""Any tables of captions, labels and phrases: what they say, or a DataError that names the file."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaccli.data.clips import read_captions, read_clotho
from aaccli.data.phrases import load_phrases
from aaccli.data.sentences import Event, Scene, sentences
from aaccli.data.sounds import SILENCE, read_sounds
from aaccli.errors import DataError
from aaccli.metrics.reading import pair, read_predictions, read_references

# Cells as people and programs write them, and worse.
CELLS = [
    "a.wav",
    "b.wav",
    "a dog barks",
    "",
    " ",
    "=1+1",
    '"',
    "'",
    "a,b",
    "a;b",
    "a\tb",
    "two\nlines",
    "\r",
    "\0",
    "犬",
]
CELLS += ["9" * 5000, "../../a.wav", "/a.wav", "x" * 300, "nan", "-1", "٣", "\ufeff", "\x1b[2J", "caption_1", "5"]
CELL = st.sampled_from(CELLS)
NAMES = ["file_name", "file", "fname", "caption", "caption_1", "caption_2", "caption_predicted", "captions", "label"]
HEADER = st.sampled_from([*NAMES, "fold", "youtube_id", "start_time", "error", ""])
HEADS = st.lists(HEADER, max_size=4) | st.sampled_from(
    [["file_name", "caption"], ["file_name", "caption_1", "caption_2"], ["file", "label", "fold"], ["file", "caption"]]
)
CODING = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])
ROWS = st.lists(st.lists(CELL, max_size=4), max_size=4)


def table(header: list[str], rows: list[list[str]], delimiter: str, coding: str, junk: bytes) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([header, *rows])
    return text.getvalue().encode(coding, "replace") + junk


TABLES = st.builds(
    table,
    HEADS,
    ROWS,
    st.sampled_from(",,,;\t|"),
    CODING | st.just("utf-8"),
    st.just(b"") | st.binary(max_size=4),
)
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | CELL
    | st.sampled_from(["\ud83d", "caf\udce9"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HEADER, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(HEADER, CELL, max_size=3) | JUNK, max_size=3)
JSON = (JUNK | OBJECTS).map(json.dumps)
LINES = st.lists(JSON, max_size=3).map("\n".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where some of the recordings are that the tables name."""
    folder = tmp_path_factory.mktemp("tables")
    for name in ("a.wav", "b.wav"):
        (folder / name).touch()
    return folder


@settings(max_examples=50)
@given(TABLES, st.booleans())
def test_any_csv_of_captions(folder, content, missing_ok):
    path = folder / "clotho_captions_development.csv"
    path.write_bytes(content)
    try:
        clips = read_captions(path, folder, missing_ok)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert clips
        assert all(clip.captions and all(caption.strip() for caption in clip.captions) for clip in clips)
        assert missing_ok or all(clip.is_there for clip in clips)
    try:
        assert read_clotho(folder, missing_ok=True)["development"]
    except DataError as error:
        assert str(folder) in str(error)


@settings(max_examples=50)
@given(TABLES)
def test_any_manifest(folder, content):
    (folder / "manifest.csv").write_bytes(content)
    try:
        recordings = read_sounds(folder)
    except DataError as error:
        assert "manifest.csv" in str(error)
    else:
        assert recordings
        assert all(recording.label.strip() == recording.label != "" for recording in recordings)


FILES = st.tuples(st.sampled_from([".csv", ".tsv"]), TABLES) | st.one_of(
    st.tuples(st.just(".json"), JSON.map(str.encode) | st.binary(max_size=9)),
    st.tuples(st.just(".jsonl"), LINES.map(str.encode)),
)


@settings(max_examples=70)
@given(FILES, FILES)
def test_any_predictions_and_references(folder, predictions, references):
    found: list[Any] = []
    for read, (suffix, content) in ((read_predictions, predictions), (read_references, references)):
        path = folder / f"captions{suffix}"
        path.write_bytes(content)
        try:
            found.append(read(path))
        except DataError as error:
            assert str(path) in str(error)
    for captions in found:
        said = [caption for of in captions.values() for caption in ([of] if isinstance(of, str) else of)]
        assert said
        assert all(any(map(str.isalnum, caption)) and caption.encode() for caption in said)
    if len(found) == 2:
        try:
            pairs = pair(found[1], {"a system": found[0]}, partial=True)
            assert len(pairs.files) == len(pairs.references) == len(pairs.systems["a system"]) > 0
        except DataError as error:
            assert str(error)


PARTS = st.sampled_from(["a dog", "{A}", "{", "%s", "barks", " ", "", "\n", "...", "\ud83d", "犬"]) | JUNK
FIELDS = st.fixed_dictionaries(
    {"phrases": st.lists(st.lists(PARTS, min_size=3, max_size=3), min_size=1, max_size=2) | JUNK},
    optional={
        "continuous": st.booleans() | JUNK,
        "background": st.booleans() | JUNK,
        "also": st.lists(CELL, max_size=2) | JUNK,
    },
)
GOOD = st.lists(st.sampled_from(["a dog", "{A}", "barks", "%s", "犬"]), min_size=3, max_size=3)
PLAIN = st.fixed_dictionaries(
    {"phrases": st.lists(GOOD, min_size=1, max_size=2)},
    optional={"continuous": st.booleans(), "also": st.lists(st.sampled_from(["x", "y", "_"]), max_size=2)},
)
LABELS = st.sampled_from(["dog", "cat", "x", "", "_", "\x1b", "silence"])
BOOKS = st.dictionaries(LABELS, PLAIN, max_size=3) | st.dictionaries(LABELS, FIELDS | JUNK, max_size=3) | JUNK


@settings(max_examples=40)
@given(BOOKS.map(json.dumps))
def test_whatever_loads_as_a_phrase_book_can_be_spoken(folder, text):
    path = folder / "book.json"
    path.write_text(text, encoding="utf-8")
    try:
        book = load_phrases(path)
    except DataError as error:
        assert str(path) in str(error)
        return
    entries = {label: book.entry(label) for label in (*book.entries, "a_stranger", SILENCE)}
    for label in entries:
        for scene in (
            Scene((), 1.0),
            Scene((Event(label, 0.0, 1.0, times=2),), 3.0),
            Scene((Event(label, 0.0, 1.0), Event("a_stranger", 2.0, 3.0), Event(SILENCE, 0.0, 3.0, bed=True)), 3.0),
        ):
            said = sentences(scene, entries, 3, np.random.default_rng(0))
            assert len(said) == 3
            assert all(any(map(str.isalnum, sentence)) for sentence in said)


@given(
    st.binary(max_size=30) | st.text('a="[]{}.\n1-:T', max_size=20).map(str.encode), st.sampled_from(["toml", "json"])
)
def test_any_file_is_a_phrase_book_or_a_data_error(folder, content, suffix):
    path = folder / f"book.{suffix}"
    path.write_bytes(content)
    try:
        load_phrases(path)
    except DataError as error:
        assert str(path) in str(error)
