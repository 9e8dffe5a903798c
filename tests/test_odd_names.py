"""Recordings of names that people, systems and attackers give: heard once, each to a place of its own."""

import csv
import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import soundfile
from fakes import FakeCaptioner
from typer.testing import CliRunner

from aaccli import console
from aaccli.captioning.captioner import Captioner
from aaccli.cli import app
from aaccli.files.wholefile import NAME_BYTES, fitting

NAMES = [
    b"caf\xe9.wav",
    b"two\nlines\t.wav",
    b"-dash.wav",
    b"=cmd.wav",
    b"<script>.wav",
    b"c\\d.wav",
    b"a.wav",
    b"A.wav",
    b"a.flac",
    b"a.srt.wav",
    *(unicodedata.normalize(form, "ü.wav").encode() for form in ("NFC", "NFD")),
    b"x" * 251 + b".wav",
    b"x" * 250 + b".flac",
    b"y" * 252 + b".au",
    ("é" * 125 + "y").encode() + b".wav",
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for i, name in enumerate(NAMES):
        with open(os.fsencode(tmp_path / "in") + b"/" + name, "wb") as file:  # noqa: PTH123
            kind = name.rpartition(b".")[2].decode().upper()
            soundfile.write(file, np.full(600 + i, i / 40, np.float32), 8000, format=kind, subtype="PCM_16")
    return tmp_path / "in"


@pytest.fixture
def aac(monkeypatch):
    fake = FakeCaptioner()
    monkeypatch.setattr(Captioner, "from_pretrained", classmethod(lambda cls, *_, **__: fake))

    def run(*arguments):
        fake.batches.clear()
        done = CliRunner().invoke(app, ["caption", *map(str, arguments)])
        return done, sum(fake.batches)

    return run


@pytest.mark.parametrize("kind", ["srt", "vtt", "jsonl"])
def test_each_has_a_file_of_its_own(aac, folder, tmp_path, kind):
    out = tmp_path / "out"
    done, heard = aac(folder, "--out", f"{out}/", "--format", kind)
    assert (done.exit_code, heard) == (0, len(NAMES)), done.stderr
    made = [path for path in out.iterdir() if path.name[0] != "."]
    assert len({path.read_bytes() for path in made}) == len(made) == len(NAMES)
    assert not list(out.glob("*.part"))
    assert aac(folder, "--out", out, "--format", kind)[1] == 0
    for path in made:
        path.unlink()
    assert aac(folder, "--out", out, "--format", kind)[1] == 0
    assert sorted(path for path in out.iterdir() if path.name[0] != ".") == sorted(made), "drawn again"


def test_an_output_of_the_longest_name_is_taken_up_again(aac, folder, tmp_path):
    out = tmp_path / ("o" * 251 + ".csv")
    assert aac(folder, "--out", out)[1] == len(NAMES)
    assert aac(folder, "--out", out)[1] == 0
    with out.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        assert len({row["file"] for row in csv.DictReader(file)}) == len(NAMES)


def test_a_disk_that_does_not_tell_cases_apart(aac, folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".AAC.LOCK").touch()  # there as soon as .aac.lock is, on such a disk
    options = ("--out", out, "--format", "srt")
    done, heard = aac(folder, *options)
    assert (done.exit_code, heard) == (2, 0)
    assert "A.wav and " in done.stderr and "its disk does not tell such names apart" in done.stderr
    assert aac(folder / "A.wav", folder / "a.flac", *options)[1] == 2
    assert {path.name for path in out.glob("*.srt")} == {"A.wav.srt", "a.flac.srt"}


@pytest.mark.parametrize("stem", ["x" * 300, "é" * 200, os.fsdecode(b"\xe9" * 300)])
def test_names_that_are_cut_are_told_apart(stem):
    names = {fitting(stem + end, ".srt") for end in "ab"}
    assert len(names) == 2
    for name in names:
        assert len(os.fsencode(name)) <= NAME_BYTES and name.endswith(".srt")
    assert fitting("x" * 251, ".srt") == "x" * 251 + ".srt"


def test_a_name_that_is_cut_can_be_a_file_where_the_locale_is_ascii():
    environment = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "import os; from aaccli.files.wholefile import fitting; "
    code += "os.fsencode(fitting(os.fsdecode(chr(233).encode() * 200), '.srt'))"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_no_name_in_a_message_moves_the_cursor(capsys):
    for tell in (console.error, console.warn, console.say):
        tell("\x1b[2Jred\r.wav\x9b: [bold]no[/] sound\nat all")
    said = capsys.readouterr().err
    assert said.count("\\x1b[2Jred\\x0d.wav\\x9b: [bold]no[/] sound\nat all\n") == 3
