"""Any text there is: through the vocabulary, and through every format and back by a reader of that format."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
from itertools import accumulate

import pytest
import srt
import webvtt
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aaccli.captioning.captioner import Alternative, Caption, Window
from aaccli.control import CONTROL
from aaccli.errors import AudioError
from aaccli.model.captioner import END, PAD, START, UNKNOWN
from aaccli.vocabulary import WORD, Vocabulary, words_of
from aaccli.writing.writers import FORMULA, About, make_writer, printable

# Letters that change when they are lowered or composed, marks, what joins words, what ends lines, what steers.
STRANGE = "ΣςİıẞßK\u030c\u0345ᄀ\u1161’'-‐\u2011_\u200d\0\t\n\r\x1b\x7f\x85\u2028\ufeff\"=+@,;|<>&{}\\0²犬🐕"
TEXT = st.text(STRANGE + "aB .", max_size=12) | st.binary(max_size=8).map(
    lambda some: some.decode("utf-16-le", "ignore")
)
# Names of files: any bytes but NUL and the slash, as the system gives them.
NAMES = TEXT | st.binary(min_size=1, max_size=8).map(lambda name: os.fsdecode(re.sub(rb"[\0/]", b"_", name)))
few = settings(max_examples=40)


# --- vocabulary ---


@given(TEXT)
@example("ΑΣ'Σ")
@example("İ")
def test_words_are_the_words_of_themselves(text):
    words = words_of(text)
    assert words_of(" ".join(words)) == words
    assert all(WORD.fullmatch(word) for word in words)


@given(TEXT)
def test_words_do_not_depend_on_case_or_on_what_is_around_them(text):
    assert words_of(f" {text}. ") == words_of(text)
    assert words_of(text.lower()) == words_of(text)


@given(st.lists(TEXT, max_size=4), TEXT)
def test_encoded_captions_are_decoded_to_their_words(captions, other):
    vocabulary = Vocabulary.build(captions)
    for caption in captions:
        ids = vocabulary.encode(caption)
        assert vocabulary.decode(ids) == " ".join(words_of(caption))
        assert vocabulary.encode(vocabulary.decode(ids)) == ids
    ids = vocabulary.encode(other)
    assert (ids[0], ids[-1]) == (START, END)
    assert not {PAD, START, END} & set(ids[1:-1])
    assert [i == UNKNOWN for i in ids[1:-1]] == [word not in vocabulary.words for word in words_of(other)]


@given(st.lists(TEXT | TEXT.map(lambda text: text * 20), max_size=4))
@example(["犬" * 101])
def test_what_is_built_can_be_loaded(tmp_path_factory, captions):
    path = tmp_path_factory.getbasetemp() / "vocabulary.json"
    vocabulary = Vocabulary.build(captions)
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary


# --- formats ---

SCORES = st.floats(-50, 0)
ALTERNATIVES = st.lists(st.builds(Alternative, TEXT, SCORES), max_size=1).map(tuple)


def windowed(seconds: list[int], said: list[tuple[str, float, tuple[Alternative, ...]]]) -> tuple[Window, ...]:
    """Windows of so many thousandths, one after the other."""
    ends = list(accumulate(seconds))
    return tuple(Window((end - n) / 1000, end / 1000, *rest) for n, end, rest in zip(seconds, ends, said, strict=False))


WINDOWS = st.builds(
    windowed,
    st.lists(st.integers(1, 10**8), min_size=1, max_size=3),
    st.lists(st.tuples(TEXT, SCORES, ALTERNATIVES), min_size=1, max_size=3),
)
# Heard, not heard, heard in part.
FILES = (
    st.builds(Caption, NAMES, WINDOWS)
    | st.builds(Caption, NAMES, error=st.builds(AudioError, NAMES))
    | st.builds(Caption, NAMES, WINDOWS, st.builds(AudioError, NAMES))
)
SAID = st.lists(FILES, max_size=2)


def written(kind: str, said: list[Caption]) -> bytes:
    writer = make_writer(kind, About())
    return b"".join([writer.head(), *(writer.rows(c, first=i == 0) for i, c in enumerate(said)), writer.foot()])


def expected_rows(said: list[Caption]) -> list[tuple]:
    """file, start, end, caption, score, error of each row."""
    rows = []
    for c in said:
        error = str(c.error) if c.error else None
        heard = [(c.file, round(w.start, 3), round(w.end, 3), w.caption, round(w.score, 4), error) for w in c.windows]
        rows += heard or [(c.file, None, None, None, None, error)]
    return rows


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@few
@given(said=SAID)
def test_tables_are_read_back(kind, said):
    text = written(kind, said).decode("utf-8-sig" if kind == "csv" else "utf-8", "surrogateescape")
    dialect = "excel" if kind == "csv" else "excel-tab"
    found = list(csv.DictReader(io.StringIO(text, newline=""), dialect=dialect))
    for row, (file, start, end, caption, score, error) in zip(found, expected_rows(said), strict=True):
        for cell, value, shield in (
            (row["file"], file, "./"),
            (row["caption"], caption, "'"),
            (row["error"], error, "'"),
        ):
            value = value or ""
            assert cell == (
                f"{shield}{value}" if value.startswith(FORMULA) and (value, shield) != ("-", "./") else value
            )
        numbers = [float(row[name]) if row[name] else None for name in ("start", "end", "score")]
        assert numbers == [start, end, score]


@few
@given(said=SAID)
def test_json_lines_are_read_back(said):
    lines = written("jsonl", said).split(b"\n")
    assert lines.pop() == b""
    found = [json.loads(line) for line in lines]
    columns = ("file", "start", "end", "caption", "score", "error")
    assert [tuple(o[name] for name in columns) for o in found] == expected_rows(said)
    others = [[a["caption"] for a in o.get("alternatives", [])] for o in found if o["start"] is not None]
    assert others == [[a.caption for a in w.alternatives] for c in said for w in c.windows]


@few
@given(said=SAID)
def test_json_is_read_back(said):
    results = json.loads(written("json", said))["results"]
    rows = []
    for result, c in zip(results, said, strict=True):
        assert (result["file"], result["error"]) == (c.file, str(c.error) if c.error else None)
        assert (result["caption"] or "") == c.caption
        heard = [(*(w[k] for k in ("start", "end", "caption", "score")), result["error"]) for w in result["windows"]]
        rows += [(result["file"], *row) for row in heard or [(None, None, None, None, result["error"])]]
    assert rows == expected_rows(said)


@few
@given(said=SAID)
def test_text_is_a_line_a_file_that_steers_nothing(said):
    heard = [c for c in said if c.windows]
    lines = written("txt", said).decode("utf-8", "surrogateescape").split("\n")
    assert lines.pop() == ""
    assert lines == [f"{printable(c.file)}\t{printable(c.caption)}" for c in heard]
    assert not any(ord(character) in CONTROL for line in lines for character in line.replace("\t", "", 1))


def one_line(text: str) -> str:
    """Without what wrapping adds and takes, and with every arrow as short as it may be."""
    return re.sub("-+>", "->", "".join(text.split()))


def seconds_of(time: str) -> float:
    hours, minutes, rest = time.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


@pytest.mark.parametrize("kind", ["srt", "vtt"])
@few
@given(said=FILES)
@example(said=Caption("a", (Window(0, 1, "--->", -1), Window(1, 2, "1\n00:00:00,000 --> 00:00:01,000\nb", -1))))
def test_subtitles_are_read_back(kind, said):
    content = written(kind, [said]).decode()
    if kind == "srt":
        found = [(c.start.total_seconds(), c.end.total_seconds(), c.content) for c in srt.parse(content)]
    else:
        cues = webvtt.from_buffer(io.StringIO(content))
        found = [(seconds_of(c.start), seconds_of(c.end), html.unescape(c.text)) for c in cues]
    merged: list[list] = []
    for w in said.windows:
        if merged and merged[-1][2] == w.caption:
            merged[-1][1] = w.end
        else:
            merged.append([w.start, w.end, w.caption])
    for (start, end, cue), (*times, caption) in zip(found, merged, strict=True):
        assert [start, end] == pytest.approx(times)
        assert one_line(cue) == one_line(f"[{caption}]")
