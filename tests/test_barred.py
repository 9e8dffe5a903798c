"""Folders that one may not enter, as root's home is to others: a clear error, or none where they are not needed."""

import builtins
import errno
import io
import os

import pytest
from fakes import FakeCaptioner
from typer.testing import CliRunner

from aaccli.captioning.captioner import Captioner
from aaccli.cli import app
from aaccli.commands import scores
from aaccli.errors import FetchError, NotInstalledError
from aaccli.fetching.assets import CNN10
from aaccli.fetching.download import fetch
from aaccli.metrics import java


@pytest.fixture
def barred(tmp_path, monkeypatch):
    """Root may enter all: this folder bars even root."""
    folder = tmp_path / "barred"

    def guarded(function):
        def call(path, *rest, **named):
            if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(f"{folder}{os.sep}"):
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
            return function(path, *rest, **named)

        return call

    for module, names in ((os, "stat lstat mkdir listdir scandir open"), (io, "open"), (builtins, "open")):
        for name in names.split():
            monkeypatch.setattr(module, name, guarded(getattr(module, name)))
    return folder


@pytest.fixture
def aac(monkeypatch, tmp_path, tone, write_wav):
    def missing():
        raise NotInstalledError("no Java here")

    fake = FakeCaptioner()
    monkeypatch.setattr(Captioner, "from_pretrained", classmethod(lambda cls, *_, **__: fake))
    monkeypatch.setattr(java, "find_java", missing)
    monkeypatch.setattr(scores, "show", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.csv").write_text("file_name,caption\na.wav,a dog barks\nb.wav,rain\n")
    for name in ("a.wav", "b.wav"):
        write_wav(tmp_path / name, tone(500.0, 0.2, 8000), 8000)
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)])


TRAIN = ("train", "--csv", "p.csv", "--audio", ".", "--init", "none")
SCORE = ("evaluate", "--predictions", "p.csv", "--references", "p.csv", "--bootstrap", 0)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("caption", "a.wav", "--out"), "x/o.csv"),
        (("caption", "a.wav", "--format", "srt", "--out"), "x/subs/"),
        (("caption", "--files-from"), "list.txt"),
        ((*SCORE, "--out"), "x/s.json"),
        (("evaluate", "--references", "p.csv", "--predictions"), "p.csv"),
        (("evaluate", "--csv", "p.csv", "--audio"), "sounds"),
        ((*TRAIN, "--out"), "x/run"),
        ((*TRAIN[:-1],), "tagger"),
        (("train", "--audio", ".", "--init", "none", "--csv"), "c.csv"),
        (("train", "--init", "none", "--train-cnn", "--sounds"), "sounds"),
        (("train", "--init", "none", "--clotho"), "clotho"),
        (("pretrain", "--sounds", ".", "--out"), "x/run"),
        (("download", "cnn10", "--cache-dir"), "cache"),
        (("download", "cnn10", "--from"), "cnn10.pth"),
    ],
)
def test_what_is_barred_is_named(aac, barred, arguments, place):
    done = aac(*arguments, f"{barred}/{place}")
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.exception
    assert str(barred / place.split("/")[0]) in done.stderr
    assert "Permission denied" in done.stderr or "missing" in done.stderr
    assert done.stderr.count("error:") == 1


def test_scores_that_need_no_cache(aac, barred, monkeypatch):
    monkeypatch.setenv("AAC_CACHE", str(barred))
    monkeypatch.delenv("AAC_CLOTHO", raising=False)
    done = aac(*SCORE)
    assert done.exit_code == 0, done.stderr
    assert "no evaluation split of Clotho in data, " in aac("evaluate").stderr


def test_a_cache_that_may_not_be_entered_is_an_error_of_its_own(barred):
    with pytest.raises(FetchError, match="Permission denied; make it writable, or choose another place: AAC_CACHE"):
        fetch(CNN10, CNN10.files[0], barred / "cnn10" / CNN10.files[0].file)


def test_tracebacks_where_they_are_wanted(aac, barred, monkeypatch):
    monkeypatch.setenv("AAC_DEBUG", "1")
    with pytest.raises(PermissionError):
        raise aac(*TRAIN, "--out", barred / "run").exception
