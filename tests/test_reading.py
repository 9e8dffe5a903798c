"""Captions and references from files of all kinds, and which go together."""

import csv
import os
from pathlib import Path

import pytest

from aaccli.errors import DataError
from aaccli.metrics.reading import pair, read_predictions, read_references


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'file_name,caption\n"x, y.wav",a dog\nz.wav,rain\n'),
        ("a.csv", '\ufefffile_name,caption_predicted\r\n"x, y.wav",a dog\r\nz.wav,rain\r\n'),
        ("a.tsv", "file\tcaption\tscore\nx, y.wav\ta dog\t-1\nz.wav\train\t-2\n"),
        ("a.json", '[{"file": "x, y.wav", "caption": "a dog"}, {"file": "z.wav", "caption": "rain"}]'),
        ("a.json", '{"x, y.wav": "a dog", "z.wav": ["rain"]}'),
        ("a.json", '{"model": "m", "rows": [{"file": "x, y.wav", "caption": "a dog"}, {"fname": "z.wav", '
         '"caption": "rain"}]}'),
        ("a.jsonl", '{"file": "x, y.wav", "caption": "a dog"}\n\n{"file": "z.wav", "caption": "rain"}\n'),
    ],
)  # fmt: skip
def test_predictions_of_all_kinds(tmp_path, name, text):
    assert read_predictions(write(tmp_path / name, text)) == {"x, y.wav": "a dog", "z.wav": "rain"}


@pytest.mark.parametrize("file", ["file_name", "file", "fname", "filename", "image_id"])
@pytest.mark.parametrize("caption", ["caption_predicted", "caption", "caption_1", "captions"])
def test_columns_are_called_as_others_call_them(tmp_path, file, caption):
    assert read_predictions(write(tmp_path / "a.csv", f"{caption},{file}\na dog,x.wav\n")) == {"x.wav": "a dog"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.csv", "file_name,caption_1,caption_2\nx.wav,a dog,barking\nz.wav,rain,\n"),
        ("r.csv", "file_name,caption_1,caption_2\nx.wav,a dog,barking\nz.wav,rain\n"),
        ("r.csv", "file_name,caption\nx.wav,a dog\nz.wav,rain\nx.wav,barking\n"),
        ("r.json", '{"x.wav": ["a dog", "barking"], "z.wav": "rain"}'),
        ("r.json", '{"annotations": [{"image_id": "x.wav", "caption": "a dog"}, {"image_id": "z.wav", "caption": '
         '"rain"}, {"image_id": "x.wav", "caption": "barking"}]}'),
        ("r.jsonl", '{"file": "x.wav", "references": ["a dog", "barking"]}\n{"file": "z.wav", "caption": "rain"}'),
    ],
)  # fmt: skip
def test_references_of_all_kinds(tmp_path, name, text):
    assert read_references(write(tmp_path / name, text)) == {"x.wav": ("a dog", "barking"), "z.wav": ("rain",)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file_name,caption\nx.wav,a\nx.wav,b\n", r"line 3: x.wav has a caption already, at .*line 2"),
        ("a.csv", 'file_name,caption\nx.wav,"a\ndog"\ny.wav,  \n', r"line 4: the caption of y.wav is empty"),
        ("a.csv", "file_name,caption\nx.wav,?!\n", r"line 2: the caption of x.wav is empty"),
        ("a.csv", "file_name,caption,error\nx.wav,,no such file\n", r"empty \(no such file\)"),
        ("a.csv", "name,text\nx,a\n", r"line 1: a column file_name was expected; it has name, text"),
        ("a.csv", "file_name,caption_1,caption_2\nx,a,b\n", r"one column caption"),
        ("a.csv", "file_name,text\nx,a\n", r"line 2: one column caption .* it has file_name, text"),
        ("a.csv", "file_name,caption\nx,a dog, barking\n", r"line 2: 3 fields .*quote"),
        ("a.csv", "file_name,caption,caption\nx,a,b\n", r"column caption comes twice"),
        ("a.csv", "file_name,caption\n", r"holds no captions"),
        ("a.csv", "file_name,caption\n,a dog\n", r"line 2: has no file_name"),
        ("a.json", '[{"file": "x"}, 3]', r"entry 1: one column caption"),
        ("a.json", '[{"file": "x", "caption": 3}]', r"entry 1: the caption of x is not text: 3"),
        ("a.json", '[\n{"file": }]', r"line 2: not JSON"),
        ("a.jsonl", '{"file": "x", "caption": "a"}\n{"file"', r"line 2: not JSON"),
        ("a.jsonl", "[" * 100000, r"nested too deep"),
        ("a.json", '[{"image_id": ' + "9" * 5000 + "}]", r"cannot be read as JSON"),
        ("a.json", r'[{"file": "x", "caption": "a dog \ud83d"}]', r"entry 1: the caption of x holds half of a char"),
        ("a.json", r'[{"file": "x\ud83d", "caption": "a dog"}]', r"entry 1: 'x\\ud83d' holds half of a character"),
        ("a.json", "3", r"a list of objects"),
        ("a.txt", "x", r"read from .csv, .tsv, .json, .jsonl"),
    ],
)  # fmt: skip
def test_errors_name_the_row(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        read_predictions(write(tmp_path / name, text))


def test_a_name_that_is_not_utf_8_is_read_from_json(tmp_path):
    path = write(tmp_path / "a.json", r'[{"file": "caf\udce9.wav", "caption": "a dog"}]')
    assert read_predictions(path) == {os.fsdecode(b"caf\xe9.wav"): "a dog"}


def test_not_utf_8(tmp_path):
    with pytest.raises(DataError, match=r"line 3: not UTF-8 \(byte 0xe9\)"):
        read_predictions(write(tmp_path / "a.csv", "file_name,caption\nx,a\ny,caf\xe9\n", "latin-1"))
    with pytest.raises(DataError, match="No such file"):
        read_predictions(tmp_path / "none.csv")


def test_references_twice(tmp_path):
    with pytest.raises(DataError, match=r"line 3: x has references already, at .*line 2"):
        read_references(write(tmp_path / "r.csv", "file_name,caption_1\nx,a\nx,b\n"))
    with pytest.raises(DataError, match=r"line 2: x has no reference"):
        read_references(write(tmp_path / "r.csv", "file_name,caption_1,caption_2\nx,,\n"))


def test_pairs_in_the_references_order():
    pairs = pair({"b": ["r"], "a": ["s"]}, {"x": {"a": "1", "b": "2"}})
    assert (pairs.files, pairs.systems["x"]) == (("b", "a"), ("2", "1"))


def test_names_are_compared_without_folders_where_none_fits():
    pairs = pair({"a.wav": ["r"], "b.wav": ["s"]}, {"x": {"data/a.wav": "1", "data\\b.wav": "2"}})
    assert pairs.systems["x"] == ("1", "2")
    with pytest.raises(DataError, match=r"two files are named a\.wav"):
        pair({"a.wav": ["r"]}, {"x": {"1/a.wav": "1", "2/a.wav": "2"}})


def test_backslashes_are_slashes():
    references = {"1/a.wav": ["r"], "2/a.wav": ["s"]}
    assert pair(references, {"x": {"2\\a.wav": "2", "1\\a.wav": "1"}}).systems["x"] == ("1", "2")


def test_what_has_no_partner_is_listed_and_refused():
    references = {str(i): ["r"] for i in range(9)}
    with pytest.raises(DataError) as error:
        pair(references, {"x": {"0": "a", "extra": "b"}})
    assert "x: 1 of 2 files have no references: extra" in str(error.value)
    assert "x: 8 of 9 files have no prediction: 1, 2, 3, 4, 5 and 3 more" in str(error.value)
    assert "--partial" in str(error.value)
    pairs = pair(references, {"x": {"0": "a", "extra": "b"}}, partial=True)
    assert pairs.files == ("0",)
    assert len(pairs.left_out) == 2
    with pytest.raises(DataError, match="no clip has both"):
        pair(references, {"x": {"extra": "b"}}, partial=True)


def test_captions_survive_their_csv(tmp_path):
    from aaccli.metrics.output import to_csv, write_whole

    captions = {'a "b", c.wav': 'it says "no", twice', "é.wav": "rain"}
    write_whole(tmp_path / "p.csv", to_csv(captions))
    assert read_predictions(tmp_path / "p.csv") == captions
    assert [p.name for p in Path(tmp_path).iterdir()] == ["p.csv"]
    assert next(csv.reader((tmp_path / "p.csv").open())) == ["file_name", "caption"]
