"""Tables as spreadsheets of any country save them: read as they are meant, or refused with what to do."""

import codecs
import csv
import io
import json

import pytest
import soundfile
from fakes import FakeCaptioner
from typer.testing import CliRunner

from aaccli.captioning.captioner import Captioner
from aaccli.cli import app
from aaccli.commands import session
from aaccli.data.clips import read_captions
from aaccli.data.sounds import read_sounds
from aaccli.errors import DataError, NotInstalledError
from aaccli.metrics import java
from aaccli.metrics.reading import read_predictions, read_references

SAID = {"a.wav": ["a dog, barking; loudly", 'a "dog"\nbarks'], "sub\\b.wav": ["un café", "rain\tfalls"]}
ROWS = [["file_name", "caption_1", "caption_2"], *([name, *said] for name, said in SAID.items())]


def table(rows=ROWS, delimiter=",", end="\r\n", coding="utf-8", before=""):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(rows)
    return (before + text.getvalue()).encode(coding)


SAVED = {
    "Excel, UTF-8": table(coding="utf-8-sig"),
    "Linux": table(end="\n"),
    "an old Mac": table(end="\r"),
    "Excel where commas are decimal points": table(delimiter=";", coding="utf-8-sig"),
    "tabs": table(delimiter="\t"),
    "a line ahead": table(before="\r\n"),
    "blanks about names": table([[f" {name} " for name in ROWS[0]], *ROWS[1:]]),
    "columns without a name": table([[*row, "", ""] for row in ROWS]),
    "rows without text": table([*ROWS, ["", "", ""], [" "]]),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clips" / "sub").mkdir(parents=True)
    for name in ("a.wav", "sub/b.wav"):
        soundfile.write(tmp_path / "clips" / name, [0.5] * 4000, 8000)
    return tmp_path / "clips"


@pytest.mark.parametrize("saved", SAVED)
def test_as_it_is_saved_everywhere(folder, tmp_path, saved):
    path = tmp_path / "captions.csv"
    path.write_bytes(SAVED[saved])
    clips = read_captions(path, folder)
    assert [(clip.path, list(clip.captions)) for clip in clips] == [
        (folder / "a.wav", SAID["a.wav"]),
        (folder / "sub" / "b.wav", SAID["sub\\b.wav"]),
    ]
    assert {name: list(said) for name, said in read_references(path).items()} == SAID
    for old, new in (("file_name", "file"), ("caption_1", "label")):
        path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    (folder / "manifest.csv").write_bytes(path.read_bytes())
    assert [r.label for r in read_sounds(folder)] == [said[0] for said in SAID.values()]


def test_a_tsv_has_tabs_whatever_its_header(tmp_path):
    (tmp_path / "a.tsv").write_bytes(table([["file_name", "caption", "a;b,c"], ["x", "a, b; c", ""]], delimiter="\t"))
    assert read_predictions(tmp_path / "a.tsv") == {"x": "a, b; c"}


REFUSED = {
    "a comma in a caption": (b"file_name,caption\na.wav,a dog, barking\n", "line 2: 3 fields .* captions with commas"),
    "a semicolon": (b"file_name;caption\na.wav;a dog; barking\n", "line 2: 3 fields .* captions with semicolons"),
    "Latin-1": (table(coding="cp1252"), r"line 4: not UTF-8 \(byte 0xe9\); save it as UTF-8"),
    "Unicode text of Excel": (table(delimiter="\t", coding="utf-16"), "UTF-16, not UTF-8; save it as UTF-8"),
    "names in capitals": (b"File_Name,Caption\na.wav,a dog\n", "line 1: .* it has File_Name, Caption"),
    "twice": (b"file_name,caption,caption\na.wav,a,b\n", "line 1: column caption comes twice"),
    "without a name": (b"file_name,caption\n,a dog\n", "line 2: has no file_name"),
    "nothing": (codecs.BOM_UTF8, "line 1: .* it has nothing"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_would_be_read_otherwise_than_it_is_meant(folder, tmp_path, why):
    content, message = REFUSED[why]
    path = tmp_path / "captions.csv"
    path.write_bytes(content)
    for read in (lambda path: read_captions(path, folder), read_references, read_predictions):
        with pytest.raises(DataError, match=rf"captions\.csv: {message}"):
            read(path)


@pytest.fixture
def aac(monkeypatch):
    def missing():
        raise NotInstalledError("no Java here")

    fake = FakeCaptioner()
    monkeypatch.setattr(Captioner, "from_pretrained", classmethod(lambda cls, *_, **__: fake))
    monkeypatch.setattr(java, "find_java", missing)
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)])


def test_by_the_commands_themselves(aac, folder, tmp_path, monkeypatch):
    path, listed, out = tmp_path / "captions.csv", tmp_path / "list.txt", tmp_path / "scores.json"
    path.write_bytes(SAVED["Excel where commas are decimal points"])
    scores = ("--metrics", "bleu", "--bootstrap", 0, "--overwrite", "--out", out)
    done = aac("evaluate", "--csv", path, "--audio", folder, *scores)
    assert done.exit_code == 0, done.stderr
    assert [clip["references"] for clip in json.loads(out.read_text("utf-8"))["clips"]] == list(SAID.values())
    said = table([["file_name", "caption"], *([name, said[0]] for name, said in SAID.items())], delimiter=";")
    (tmp_path / "said.csv").write_bytes(said)
    done = aac("evaluate", "--predictions", tmp_path / "said.csv", "--references", path, *scores)
    assert done.exit_code == 0, done.stderr

    def hold_out(clips, *_):
        raise DataError(str([list(clip.captions) for clip in clips]))  # enough was seen

    monkeypatch.setattr(session, "hold_out", hold_out)
    done = aac("train", "--csv", path, "--audio", folder, "--out", tmp_path / "run", "--init", "none")
    assert str(list(SAID.values())) in done.stderr
    listed.write_bytes(codecs.BOM_UTF8 + f"{folder / 'a.wav'}\r\n\r\n{folder / 'sub' / 'b.wav'}\r\n".encode())
    assert len(aac("caption", "--files-from", listed).stdout.splitlines()) == 2
