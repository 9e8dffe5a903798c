"""Names in the csv of a data set: in the ways that people and systems write them, and never out of the folder."""

import csv
import re

import pytest
from typer.testing import CliRunner

from aaccli.cli import app
from aaccli.data.clips import read_captions
from aaccli.data.sounds import read_sounds
from aaccli.errors import DataError, NotInstalledError
from aaccli.files.within import find_within
from aaccli.metrics import java
from aaccli.metrics.reading import pair


@pytest.fixture
def folder(tmp_path):
    """A data set beside a file that is none of its."""
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    for path in (data / "a.wav", data / "sub" / "b.wav", tmp_path / "secret.wav"):
        path.write_bytes(b"sound")
    (data / "in.wav").symlink_to("sub/b.wav")
    (data / "linked.wav").symlink_to(tmp_path / "secret.wav")  # by who laid out the data set
    return data


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a.wav", "a.wav"),
        ("./a.wav", "a.wav"),
        ("sub/../a.wav", "a.wav"),
        ("sub\\b.wav", "sub/b.wav"),
        (".\\sub\\b.wav", "sub/b.wav"),
        ("in.wav", "in.wav"),
        ("linked.wav", "linked.wav"),
        ("gone.wav", "gone.wav"),
        ("3: dogs.wav", "3: dogs.wav"),
    ],
)
def test_names_of_the_folder(folder, name, place):
    assert find_within(folder, name) == folder / place


def test_a_backslash_that_is_part_of_a_name(folder):
    (folder / "sub\\b.wav").write_bytes(b"another sound")
    assert find_within(folder, "sub\\b.wav").read_bytes() == b"another sound"


def test_a_path_from_the_root_may_lead_there_too(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert find_within(folder.relative_to(folder), str(folder / "a.wav")) == folder.relative_to(folder) / "a.wav"


OUT = ["../secret.wav", "sub/../../secret.wav", "..\\secret.wav", "C:\\secret.wav",
       "\\\\server\\secret.wav", "\\secret.wav", "..", "a\0.wav", "/etc/passwd"]  # fmt: skip


@pytest.mark.parametrize("name", OUT)
def test_names_that_lead_out(folder, name):
    with pytest.raises(DataError, match=r"leads out of .*data; put the file there"):
        find_within(folder, name)


def write_rows(path, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize("missing_ok", [False, True])
def test_captions_of_what_is_elsewhere_are_refused_with_the_line(folder, missing_ok):
    path = write_rows(folder / "c.csv", ("file_name", "caption"), ("a.wav", "a dog"), ("../secret.wav", "a cat"))
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}: line 3: '\.\./secret\.wav' leads out"):
        read_captions(path, folder, missing_ok)


def test_both_ways_to_write_a_path_are_one_clip(folder):
    rows = ("file_name", "caption"), ("sub\\b.wav", "a dog"), ("sub/b.wav", "a cat")
    (clip,) = read_captions(write_rows(folder / "c.csv", *rows), folder)
    assert (clip.path, clip.captions) == (folder / "sub" / "b.wav", ("a dog", "a cat"))


def test_a_manifest(folder):
    rows = ("file", "label"), ("sub\\b.wav", "dog")
    assert read_sounds(write_rows(folder / "manifest.csv", *rows).parent)[0].path == folder / "sub" / "b.wav"
    write_rows(folder / "manifest.csv", *rows, ("../secret.wav", "cat"))
    with pytest.raises(DataError, match=r"manifest\.csv: line 3: '\.\./secret\.wav' leads out"):
        read_sounds(folder)


def test_predictions_of_windows_beside_references_of_linux():
    """By their whole path: both have a b.wav."""
    references = {"x/b.wav": ["a dog"], "y/b.wav": ["a cat"]}
    pairs = pair(references, {"s": {"y\\b.wav": "cat", "x\\b.wav": "dog"}})
    assert pairs.systems["s"] == ("dog", "cat")


def test_a_report_holds_no_recording_from_elsewhere(tmp_path, monkeypatch, write_wav, tone):
    def missing():
        raise NotInstalledError("no Java here")

    monkeypatch.setattr(java, "find_java", missing)
    (tmp_path / "sounds").mkdir()
    for path in (tmp_path / "sounds" / "a.wav", tmp_path / "secret.wav"):
        write_wav(path, tone(500.0, 0.2, 8000), 8000)
    given = write_rows(tmp_path / "p.csv", ("file_name", "caption"), ("a.wav", "a dog"), ("../secret.wav", "a cat"))
    arguments = ("--predictions", given, "--references", given, "--audio", tmp_path / "sounds")
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--report", str(tmp_path / "r.html")])
    assert done.exit_code == 0 and "lacks 1 of 2 recordings" in done.stderr
    assert (tmp_path / "r.html").read_text().count("data:audio/") == 1


def test_another_drive_is_another_folder(folder, monkeypatch):
    """As Windows tells of it, where no path leads from one drive to another."""

    def no_way(*_):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr("aaccli.files.within.os.path.relpath", no_way)
    with pytest.raises(DataError, match="leads out of"):
        find_within(folder, "a.wav")
