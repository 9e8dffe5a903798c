"""Captions as text, read back by other readers."""

import csv
import io
import json
import os
from dataclasses import replace

import pytest
import srt
import webvtt

from aaccli.captioning.captioner import Alternative, Caption, Window
from aaccli.errors import AudioError, ConfigError
from aaccli.writing.writers import (
    COLUMNS,
    FORMATS,
    OF_ONE_FILE,
    WITH_ALTERNATIVES,
    About,
    format_of,
    make_writer,
    printable,
)

UNDECODABLE = os.fsdecode(b"caf\xe9 \xff.wav")
NAMES = [
    "a.wav",
    "two\nlines.wav",
    "tab\there\r.wav",
    "quote\"'s, comma.wav",
    "Glocke läutet, 犬.wav",
    UNDECODABLE,
    "\\n.wav",
]
LONG = Caption(
    "street.wav",
    (
        Window(0.0, 30.0, "rain falls", -0.5),
        Window(30.0, 60.0, "rain falls", -0.25, (Alternative("it rains", -0.75),)),
        Window(60.0, 100.5, "a dog barks in the distance", -0.125),
    ),
)


def written(kind, *captions, **about):
    writer = make_writer(kind, About(**about))
    rows = [writer.rows(caption, first=i == 0) for i, caption in enumerate(captions)]
    return b"".join([writer.head(), *rows, writer.foot()])


def heard(name, caption="a dog barks", score=-0.5):
    return Caption(name, (Window(0.0, 1.5, caption, score),))


def table(kind, content):
    text = content.decode("utf-8-sig" if kind == "csv" else "utf-8", "surrogateescape")
    return list(csv.DictReader(io.StringIO(text, newline=""), dialect={"csv": "excel", "tsv": "excel-tab"}[kind]))


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_tables_round_trip(kind):
    failed = Caption("b.wav", error=AudioError('b.wav: "no", sound\nat all'))
    rows = table(kind, written(kind, *map(heard, NAMES), LONG, failed))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["file"] for row in rows] == [*NAMES, *["street.wav"] * 3, "b.wav"]
    assert (rows[0]["start"], rows[0]["end"], rows[0]["score"], rows[0]["error"]) == ("0.000", "1.500", "-0.5000", "")
    assert [(r["start"], r["end"], r["caption"]) for r in rows[-4:-1]] == [
        *(("0.000", "30.000", "rain falls"), ("30.000", "60.000", "rain falls")),
        ("60.000", "100.500", "a dog barks in the distance"),
    ]
    assert rows[-1] == dict.fromkeys(COLUMNS, "") | {"file": "b.wav", "error": str(failed.error)}


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r="])
def test_nothing_in_a_table_becomes_a_formula(kind, start):
    evil = f"{start}1+1"
    row = table(kind, written(kind, heard(evil, evil)))[0]
    assert row["caption"] == f"'{evil}"
    assert row["file"] == f"./{evil}"
    failed = table(kind, written(kind, Caption(evil, error=AudioError(f"{evil}: bad"))))[0]
    assert failed["error"] == f"'{evil}: bad"


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_standard_input_keeps_its_name_in_a_table(kind):
    assert table(kind, written(kind, heard("-")))[0]["file"] == "-"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_name_of_windows_with_half_a_character(kind):
    assert b"\\ud83d.wav" in written(kind, heard("\ud83d.wav", "\ud83d.wav"))


def test_a_csv_says_that_it_is_utf8():
    assert written("csv", heard("犬.wav")).startswith(b"\xef\xbb\xbffile,")
    assert written("tsv", heard("犬.wav")).startswith(b"file\t")


def test_a_file_that_breaks_off_has_its_captions_and_its_error():
    part = Caption("a.wav", LONG.windows[:2], AudioError("a.wav: cut short"))
    assert [row["error"] for row in table("csv", written("csv", part))] == ["a.wav: cut short"] * 2
    (result,) = json.loads(written("json", part))["results"]
    assert (result["caption"], result["error"]) == ("rain falls", "a.wav: cut short")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_json_keeps_any_name(name):
    (result,) = json.loads(written("json", heard(name)))["results"]
    assert result["file"] == name
    assert json.loads(written("jsonl", heard(name)))["file"] == name
    assert os.fsencode(result["file"]) == os.fsencode(name)


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_json_is_written_as_utf_8_and_has_numbers_only(kind):
    assert "犬".encode() in written(kind, heard("犬.wav"))
    with pytest.raises(ValueError, match="JSON compliant"):
        written(kind, heard("a.wav", score=float("nan")))


def test_json_counts_thousandths_of_seconds_and_ten_thousandths_of_scores():
    window = Window(0.12345, 1.98765, "rain falls", -0.123456, (Alternative("it rains", -1.654321),), 0.98765)
    told = {"start": 0.123, "end": 1.988, "caption": "rain falls", "score": -0.1235, "probability": 0.988}
    others = {"alternatives": [{"caption": "it rains", "score": -1.6543}]}
    (result,) = json.loads(written("json", Caption("a.wav", (window,))))["results"]
    assert result["windows"] == [told | others]
    assert {key: result[key] for key in told} == told | {"start": 0.12345}
    line = json.loads(written("jsonl", Caption("a.wav", (window,))))
    assert line == told | others | {"file": "a.wav", "error": None}


def test_the_formats_that_keep_alternatives_and_those_that_name_no_file():
    plain = heard("a.wav")
    (window,) = plain.windows
    more = replace(plain, windows=(replace(window, alternatives=(Alternative("it rains", -0.75),)),))
    assert tuple(kind for kind in FORMATS if written(kind, more) != written(kind, plain)) == WITH_ALTERNATIVES
    assert tuple(kind for kind in FORMATS if b"a.wav" not in written(kind, plain)) == OF_ONE_FILE


def test_json_has_the_run_the_whole_and_the_windows():
    about = {"model": {"name": "default"}, "version": "1.2.3", "options": {"beam_size": 4}}
    data = json.loads(written("json", LONG, Caption("b.wav", error=AudioError("b.wav: bad")), **about))
    assert {key: data[key] for key in about} == about
    long, bad = data["results"]
    assert (long["start"], long["end"], long["caption"], long["score"]) == (0.0, 100.5, "rain falls", -0.25)
    assert [window["start"] for window in long["windows"]] == [0.0, 30.0, 60.0]
    assert long["windows"][1]["alternatives"] == [{"caption": "it rains", "score": -0.75}]
    assert "alternatives" not in long["windows"][0]
    assert (bad["caption"], bad["error"], bad["windows"]) == (None, "b.wav: bad", [])
    assert json.loads(written("json")) == {"model": {}, "version": "", "options": {}, "results": []}


def test_jsonl_has_a_line_a_window():
    lines = [
        json.loads(line) for line in written("jsonl", LONG, Caption("b.wav", error=AudioError("bad"))).splitlines()
    ]
    assert [line["file"] for line in lines] == ["street.wav"] * 3 + ["b.wav"]
    assert all(set(COLUMNS) <= set(line) for line in lines)
    assert [line["error"] for line in lines] == [None, None, None, "bad"]


def test_text_is_a_line_a_file():
    assert written("txt", LONG, bare=True) == b"rain falls\n"
    assert written("txt", LONG, heard("two\nlines\x1b[2J.wav"), Caption("b.wav", error=AudioError("bad"))) == (
        b"street.wav\train falls\ntwo\\nlines\\x1b[2J.wav\ta dog barks\n"
    )
    assert written("txt", heard(UNDECODABLE)) == b"caf\xe9 \xff.wav\ta dog barks\n"


def test_printable_moves_no_cursor():
    assert printable("a\x1b[31m\x9b2J\x00\x7fb") == "a\\x1b[31m\\x9b2J\\x00\\x7fb"
    assert printable("\t\n\v\f\r\x1f ~\x80\x9f\xa0é") == "\\t\\n\\x0b\\x0c\\r\\x1f ~\\x80\\x9f\xa0é"


def seconds_of(time):
    hours, minutes, rest = time.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


def cues_of(kind, *windows):
    """What another parser reads: start and end in seconds, text."""
    content = written(kind, Caption("a.wav", windows)).decode()
    if kind == "srt":
        cues = list(srt.parse(content, ignore_errors=False))
        assert [cue.index for cue in cues] == list(range(1, len(cues) + 1))
        return [(cue.start.total_seconds(), cue.end.total_seconds(), cue.content) for cue in cues]
    return [(seconds_of(c.start), seconds_of(c.end), c.text) for c in webvtt.from_string(content)]


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_merge_equal_neighbours_and_bracket_sounds(kind):
    assert cues_of(kind, *LONG.windows) == [(0.0, 60.0, "[rain falls]"), (60.0, 100.5, "[a dog barks in the distance]")]


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_of_windows_that_overlap_come_one_after_the_other(kind):
    windows = [Window(0, 10, "a", -1), Window(5, 15, "b", -1), Window(10, 20, "b", -1), Window(15, 25, "a", -1)]
    assert cues_of(kind, *windows) == [(0, 5, "[a]"), (5, 15, "[b]"), (15, 25, "[a]")]


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_equal_captions_apart_stay_apart(kind):
    windows = [Window(0, 10, "a", -1), Window(10, 20, "b", -1), Window(20, 30, "a", -1)]
    assert len(cues_of(kind, *windows)) == 3


@pytest.mark.parametrize("kind", ["srt", "vtt"])
@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("dogs & <cats> --> \n\n 2", {"srt": "[dogs & <cats> -> 2]", "vtt": "[dogs & <cats> --> 2]"}),
        ("cats ---> dogs", {"srt": "[cats -> dogs]", "vtt": "[cats ---> dogs]"}),
        ("word " * 12, dict.fromkeys(("srt", "vtt"), "[word word word word word word word word\nword word word word]")),
    ],
)
def test_no_caption_breaks_a_subtitle(kind, caption, text):
    windows = [Window(0, 10, caption, -1), Window(10, 20, "b", -1)]
    (_, _, found), (_, _, after) = cues_of(kind, *windows)
    assert found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text[kind]
    assert after == "[b]"


def test_subtitles_of_a_long_day():
    ((start, end, _),) = cues_of("srt", Window(0.0004, 3599.9996, "a", -1))
    assert (start, end) == (0.0, 3600.0)
    assert b"100:00:00,000" in written("srt", Caption("a", (Window(0, 360000, "a", -1),)))


def test_formats_follow_the_suffix(tmp_path):
    assert [format_of(tmp_path / f"a.{kind.upper()}") for kind in FORMATS] == list(FORMATS)
    with pytest.raises(ConfigError, match=r"--format txt\|json\|jsonl\|csv\|tsv\|srt\|vtt$"):
        format_of(tmp_path / "a.xlsx")
