"""Captions of recordings: csv files, Clotho's layouts, a share to validate with."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from aaccli.data.clips import (
    Clip,
    hold_out,
    read_captions,
    read_clotho,
)
from aaccli.errors import DataError

FIVE = [f"caption_{i}" for i in range(1, 6)]
NAMES = ["a.wav", "rain, then sun.wav", "  two  spaces .wav", "Küche – naïve 音.wav", 'the "dog".wav', "it's.flac"]


def write_csv(path: Path, rows: list[list[str]], encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def touch(folder: Path, *names: str) -> Path:
    """Empty files: reading captions looks at names alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def read(tmp_path: Path, rows: list[list[str]], encoding: str = "utf-8") -> list[tuple[str, tuple[str, ...]]]:
    """What read_captions makes of these rows: names and captions."""
    names = [row[rows[0].index("file_name")] for row in rows[1:]]
    folder = touch(tmp_path / "sounds", *names)
    clips = read_captions(write_csv(tmp_path / "captions.csv", rows, encoding), folder)
    assert all(clip.path.parent == folder for clip in clips)
    return [(clip.path.name, clip.captions) for clip in clips]


# --- csv files of captions ---


def test_columns_of_captions(tmp_path):
    rows = [["file_name", *FIVE], ["b.wav", *"vwxyz"], ["a.wav", "One, two.", "2", "3", "4", "5"]]
    assert read(tmp_path, rows) == [("b.wav", tuple("vwxyz")), ("a.wav", ("One, two.", "2", "3", "4", "5"))]


def test_one_caption_a_row(tmp_path):
    rows = [["caption", "file_name"], ["one", "a.wav"], ["two", "b.wav"], ["three", "a.wav"]]
    assert read(tmp_path, rows) == [("a.wav", ("one", "three")), ("b.wav", ("two",))]


def test_several_rows_of_several_captions(tmp_path):
    rows = [["file_name", "caption_1", "caption_2"], ["a.wav", "one", "two"], ["a.wav", "three", ""]]
    assert read(tmp_path, rows) == [("a.wav", ("one", "two", "three"))]


def test_other_columns_are_left_alone(tmp_path):
    rows = [["keywords", "file_name", "start", "caption_1"], ["rain", "a.wav", "7", "one"]]
    assert read(tmp_path, rows) == [("a.wav", ("one",))]


def test_blank_captions_are_left_out(tmp_path):
    rows = [["file_name", *FIVE], ["a.wav", "one", "", "  ", "\t", "five"], ["b.wav", *[""] * 5]]
    assert read(tmp_path, rows) == [("a.wav", ("one", "five"))]


def test_rows_that_are_too_short(tmp_path):
    rows = [["file_name", "caption_1", "caption_2"], ["a.wav", "one"], ["b.wav", "one", "two", ""]]
    assert read(tmp_path, rows) == [("a.wav", ("one",)), ("b.wav", ("one", "two"))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("name", NAMES)
def test_names_of_files(tmp_path, name, encoding):
    rows = [["file_name", "caption"], [name, "Ein Hund – „wau“"]]
    assert read(tmp_path, rows, encoding) == [(name, ("Ein Hund – „wau“",))]


@pytest.mark.parametrize(
    "header",
    [["file", "caption"], ["file_name"], ["file_name", "captions"], ["file_name", "Caption_1"], ["caption_1"], []],
    ids=",".join,
)
def test_wrong_columns(tmp_path, header):
    path = write_csv(tmp_path / "captions.csv", [header, ["a.wav", "one"]] if header else [])
    with pytest.raises(DataError, match=r"captions\.csv.*file_name.*caption_1"):
        read_captions(path, touch(tmp_path, "a.wav"))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_csv_that_is_not_utf8(tmp_path, encoding):
    path = write_csv(tmp_path / "captions.csv", [["file_name", "caption"], ["Küche.wav", "one"]], encoding)
    with pytest.raises(DataError, match=r"captions\.csv.*UTF-8"):
        read_captions(path, touch(tmp_path, "Küche.wav"))


@pytest.mark.parametrize("rows", [[], [["a.wav", ""]], [["a.wav", " "], ["b.wav", ""]]])
def test_no_caption_at_all(tmp_path, rows):
    path = write_csv(tmp_path / "captions.csv", [["file_name", "caption"], *rows])
    with pytest.raises(DataError, match=r"captions\.csv"):
        read_captions(path, touch(tmp_path, "a.wav", "b.wav"))


def test_missing_recordings_are_counted(tmp_path):
    rows = [["file_name", "caption"], *([f"{i}.wav", "one"] for i in range(5))]
    path = write_csv(tmp_path / "captions.csv", rows)
    with pytest.raises(DataError, match=r"captions\.csv: 3 of 5 .*1\.wav"):
        read_captions(path, touch(tmp_path / "sounds", "0.wav", "2.wav"))


def test_a_caption_in_the_place_of_a_file_name(tmp_path):
    """No file can have so long a name; the system says so in its own way."""
    path = write_csv(tmp_path / "captions.csv", [["file_name", "caption"], ["a dog barks " * 50, "a.wav"]])
    with pytest.raises(DataError, match=r"captions\.csv: 1 of 1 recordings are missing"):
        read_captions(path, tmp_path)
    (clip,) = read_captions(path, tmp_path, missing_ok=True)
    assert not clip.is_there


def test_rows_of_audiocaps_and_no_such_folder(tmp_path):
    path = write_csv(tmp_path / "captions.csv", [["youtube_id", "caption"], ["abc", "one"]])
    with pytest.raises(DataError, match=r"nowhere: No such file"):
        read_captions(path, tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["nowhere.csv", "folder.csv"])
def test_csv_that_is_no_file(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=name):
        read_captions(tmp_path / name, tmp_path)


def test_row_without_a_file(tmp_path):
    path = write_csv(tmp_path / "captions.csv", [["caption", "file_name"], ["one", "a.wav"], ["two"]])
    with pytest.raises(DataError, match=r"captions\.csv: line 3: has no file_name"):
        read_captions(path, touch(tmp_path, "a.wav"))


def test_rows_of_audiocaps(tmp_path):
    """Its csv names videos; downloaders name files by them, in several ways."""
    folder = touch(tmp_path / "clips", "abc_30.flac", "Y-de.wav", "fg.mp3", "fg.txt")
    rows = [["audiocap_id", "youtube_id", "start_time", "caption"]]
    rows += [["1", "abc", "30", "one"], ["2", "-de", "0", "two"], ["3", "fg", "7", "three"], ["4", "abc", "30", "four"]]
    found = read_captions(write_csv(tmp_path / "a.csv", rows), folder)
    assert [(clip.path.name, clip.captions) for clip in found] == [
        ("abc_30.flac", ("one", "four")),
        ("Y-de.wav", ("two",)),
        ("fg.mp3", ("three",)),
    ]
    path = write_csv(tmp_path / "b.csv", [*rows, ["5", "gone", "1", "five"]])
    with pytest.raises(DataError, match=r"1 of 4 .* missing .* gone_1\.wav"):
        read_captions(path, folder)
    assert len(read_captions(path, folder, missing_ok=True)) == 4


# --- Clotho ---

SPLITS = {"development": 3, "validation": 2, "evaluation": 1}


def write_split(csvs: Path, sounds: Path, split: str) -> None:
    names = [f"{split}, {name}" for name in NAMES[: SPLITS[split]]]
    touch(sounds, *names)
    rows = [[name, *(f"{split} {i} {k}" for k in range(5))] for i, name in enumerate(names)]
    write_csv(csvs / f"clotho_captions_{split}.csv", [["file_name", *FIVE], *rows])


# Folder of the csv files, and of the recordings of a split.
LAYOUTS = {
    "plain": (".", "{}"),
    "archives": (".", "clotho_audio_{0}/{0}"),
    "unpacked": ("clotho_csv_files", "clotho_audio_files/{}"),
    "aac-datasets v2.1": ("CLOTHO_v2.1/clotho_csv_files", "CLOTHO_v2.1/clotho_audio_files/{}"),
    "aac-datasets v2": ("CLOTHO_v2/clotho_csv_files", "CLOTHO_v2/clotho_audio_files/{}"),
    "aac-datasets v1": ("CLOTHO_v1/clotho_csv_files", "CLOTHO_v1/clotho_audio_files/{}"),
}


@pytest.mark.parametrize("splits", [list(SPLITS), ["development", "evaluation"], ["development"]], ids=len)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_clotho(tmp_path, layout, splits):
    csvs, sounds = LAYOUTS[layout]
    for split in splits:
        write_split(tmp_path / csvs, tmp_path / sounds.format(split), split)
    found = read_clotho(tmp_path)
    assert sorted(found) == sorted(splits)
    for split in splits:
        assert len(found[split]) == SPLITS[split]
        for i, clip in enumerate(found[split]):
            assert clip.path == tmp_path / sounds.format(split) / f"{split}, {NAMES[i]}"
            assert clip.captions == tuple(f"{split} {i} {k}" for k in range(5))


def test_newest_version_of_clotho(tmp_path):
    for version in ("CLOTHO_v1", "CLOTHO_v2.1"):
        root = tmp_path / version
        write_split(root / "clotho_csv_files", root / "clotho_audio_files/development", "development")
    assert read_clotho(tmp_path)["development"][0].path.is_relative_to(tmp_path / "CLOTHO_v2.1")


@pytest.mark.parametrize("name", ["", "nowhere", "file"])
def test_no_clotho(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"clotho_captions_development\.csv"):
        read_clotho(tmp_path / name)


def test_clotho_without_development(tmp_path):
    write_split(tmp_path, tmp_path / "evaluation", "evaluation")
    with pytest.raises(DataError, match=r"clotho_captions_development\.csv"):
        read_clotho(tmp_path)


def test_clotho_without_recordings(tmp_path):
    write_split(tmp_path, tmp_path / "elsewhere", "development")
    with pytest.raises(DataError, match="3 of 3 recordings are missing"):
        read_clotho(tmp_path)


# --- a share to validate with ---


def clips(count: int) -> list[Clip]:
    return [Clip(Path(f"{i}.wav"), ("one",)) for i in range(count)]


@pytest.mark.parametrize(
    ("count", "share", "held"), [(2, 0.0, 1), (2, 1.0, 1), (10, 0.01, 1), (10, 0.3, 3), (50, 0.5, 25), (5, 1.0, 4)]
)
def test_hold_out(count, share, held):
    train, validation = hold_out(clips(count), share, seed=0)
    assert len(validation) == held
    assert not set(train) & set(validation)
    assert sorted([*train, *validation], key=clips(count).index) == clips(count)


def test_hold_out_of_a_seed():
    assert hold_out(clips(30), 0.2, 1) == hold_out(clips(30), 0.2, 1)
    assert len({frozenset(hold_out(clips(30), 0.2, seed)[1]) for seed in range(10)}) == 10


@pytest.mark.parametrize("count", [0, 1])
def test_hold_out_of_too_few(count):
    with pytest.raises(DataError):
        hold_out(clips(count), 0.2, 0)
