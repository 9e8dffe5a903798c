"""A disk that fills up at every place in turn: what was there stays, and the same command goes on to the same end."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import torch
from fakes import FakeCaptioner
from full_disk import filling_up
from typer.testing import CliRunner

from aaccli import checkpoints
from aaccli.captioning import captioner as captioning
from aaccli.checkpoints import CONFIG, CaptionerInfo, save_captioner
from aaccli.cli import app
from aaccli.commands import scores
from aaccli.errors import CheckpointError, NotInstalledError, OutputError
from aaccli.files.wholefile import advised, reported
from aaccli.metrics import java
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import CaptionerNet
from aaccli.training.config import Epoch, Step
from aaccli.training.journal import Journal
from aaccli.training.runstate import StateFolder
from aaccli.training.trainer import Position
from aaccli.vocabulary import Vocabulary


def aac(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def sounds(tmp_path, monkeypatch):
    fake = FakeCaptioner()
    monkeypatch.setattr(captioning.Captioner, "from_pretrained", classmethod(lambda cls, *_, **__: fake))
    (tmp_path / "in").mkdir()
    for i in range(3):
        soundfile.write(tmp_path / "in" / f"{i}.wav", np.full(700, i / 4), 8000)
    return [tmp_path / "in" / f"{i}.wav" for i in range(3)]


def outputs(folder):
    """What a user sees there."""
    return {
        path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name[0] != "."
    }


@pytest.mark.parametrize("out", ["out.csv", "out.json", "subs/"])
def test_captions_at_every_write(sounds, tmp_path, out):
    """Two of three files were captioned before."""
    before, disk = tmp_path / "before", tmp_path / "disk"
    before.mkdir()
    form = ("--format", "srt") if out == "subs/" else ()
    assert aac("caption", *sounds[:2], "--out", f"{before}/{out}", *form).exit_code == 0
    there = outputs(before)

    def run():
        return aac("caption", *sounds, "--out", f"{disk}/{out}", *form)

    shutil.copytree(before, disk)
    with filling_up(disk) as counted:
        assert run().exit_code == 0
    whole, steps = outputs(disk), counted.count
    assert steps > 8
    for at in range(1, steps + 1):
        shutil.rmtree(disk)
        shutil.copytree(before, disk)
        with filling_up(disk, at) as full:
            failed = run()
        assert full.refuses and failed.exit_code == 1, failed.output
        assert str(disk) in failed.stderr and "No space left on device" in failed.stderr
        assert "make room, then type the same command again" in failed.stderr
        left = outputs(disk)
        for name, content in there.items():
            assert left[name].startswith(content.removesuffix(b"\n]}\n")), f"lost at {at}"
        if out == "out.json":
            json.loads(left["out.json"])
        assert run().exit_code == 0
        assert outputs(disk) == whole, f"another end after {at}"


def test_evaluations_at_every_write(tmp_path, monkeypatch):
    def missing():
        raise NotInstalledError("no Java here")

    monkeypatch.setattr(java, "find_java", missing)
    monkeypatch.setattr(scores, "show", lambda *_: None)
    given, disk = tmp_path / "p.csv", tmp_path / "disk"
    given.write_text("file_name,caption\na.wav,a dog barks\nb.wav,rain falls\n")
    arguments = ("evaluate", "--predictions", given, "--references", given, "--bootstrap", 0, "--overwrite")
    arguments += ("--out", disk / "s.json", "--out", disk / "said.csv", "--report", disk / "r.html")
    disk.mkdir()
    with filling_up(disk) as counted:
        assert aac(*arguments).exit_code == 0
    whole, steps = outputs(disk), counted.count
    assert steps == 3 * 4  # of each: its lock, its beginning, its bytes, its name
    for at in range(1, steps + 1):
        shutil.rmtree(disk)
        disk.mkdir()
        for name in whole:
            (disk / name).write_bytes(b"of the year before")
        with filling_up(disk, at):
            failed = aac(*arguments)
        assert failed.exit_code == 1
        assert "make room, then type the same command again, with --overwrite" in failed.stderr
        left = outputs(disk)
        assert all(left[name] in (b"of the year before", whole[name]) for name in whole)
        assert aac(*arguments).exit_code == 0
        assert outputs(disk) == whole


def test_a_model_at_every_write(tmp_path, tiny_model_config, monkeypatch):
    # Four tensors are as good as all.
    monkeypatch.setattr(checkpoints, "learned", lambda state: dict(list(state.items())[-4:]))
    words, folder = Vocabulary(("a", "dog")), tmp_path / "best"
    former, latter = (CaptionerInfo(tiny_model_config, DecodingConfig(), {"epoch": i}) for i in (1, 2))
    net = CaptionerNet(tiny_model_config, len(words))
    save_captioner(folder, net, words, former, card="# One")
    content = outputs(folder)
    with filling_up(tmp_path) as counted:
        save_captioner(folder, net, words, latter, card="# Two")
    assert counted.count > 10
    for at in range(1, counted.count + 1):
        shutil.rmtree(folder)
        save_captioner(folder, net, words, former, card="# One")
        with filling_up(tmp_path, at), pytest.raises(OutputError, match="No space left on device"):
            save_captioner(folder, net, words, latter, card="# Two")
        assert outputs(folder) == content, f"lost at {at}"
        assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert json.loads((folder / CONFIG).read_text())["trained"] == {"epoch": 1}


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EDQUOT, "make room, then go on"),
        (errno.EROFS, "make it writable, then go on"),
        (errno.EIO, "have the disk checked, then go on"),
    ],
)
def test_what_to_do_next(tmp_path, number, remedy):
    with pytest.raises(OutputError, match=f"o.csv: .*; {remedy}$"), advised("go on"), reported(tmp_path / "o.csv"):
        raise OSError(number, os.strerror(number))


STEPS = [Step(e, s, 2, 3.0, 2.0, 1.0, 3e-4, 0.5, 10.0) for e in (1, 2) for s in (1, 2)]
EPOCHS = [Epoch(e, 2.5, 2.25, 2.0, True, 9.0, 0.1, {}, ()) for e in (1, 2)]
STORY = [*STEPS[:2], EPOCHS[0], *STEPS[2:], EPOCHS[1]]


def told(folder, begun=0, at=0, room=len(STORY)):
    """Tell a run's story from an entry on, on a disk that fills up and has room again; gives problems and steps."""
    problems = []
    with filling_up(folder, at) as disk:
        journal = Journal(folder, "a run", Position(1, 0) if begun else Position(), False, problems.append)
        tell = {Step: journal.step, Epoch: journal.epoch}
        for entry in STORY[begun:room]:
            tell[type(entry)](entry)
    for entry in STORY[room:]:
        tell[type(entry)](entry)
    journal.close()
    return problems, disk.count


@pytest.mark.parametrize("begun", [0, 3])
def test_metrics_and_curves_at_every_write(tmp_path, begun):
    """What there was no room for follows; in a run that goes on, too, where the file holds more than is so any more."""
    whole, disk = tmp_path / "whole", tmp_path / "disk"
    whole.mkdir()
    told(whole)
    content = outputs(whole)
    for room in range(begun, len(STORY) + 1):
        at = steps = 1
        while at <= steps:
            shutil.rmtree(disk, ignore_errors=True)
            shutil.copytree(whole, disk) if begun else disk.mkdir()
            problems, steps = told(disk, begun, at, room)
            assert bool(problems) == (at <= steps)
            assert all("No space left on device); training goes on" in problem for problem in problems)
            assert len(problems) == len(set(problems)), "not at every step"
            assert outputs(disk) == content, f"others after {at}, with room after {room}"
            at += 1


def test_a_state_at_every_write(tmp_path):
    def saved(number, at=0):
        states = StateFolder(tmp_path / "state")
        states.load()
        with filling_up(tmp_path, at) as disk:
            states.save({"weights": torch.full((1000,), float(number))}, 0, number)
        return disk.count

    saved(1)
    for at in range(1, saved(2) + 1):
        with pytest.raises(CheckpointError, match=r"No space left on device.*step000002\.pt is kept"):
            saved(3, at)
        state, problems = StateFolder(tmp_path / "state").load()
        assert problems == [] and float(state["weights"][0]) == 2.0
