"""``aac train`` as its user types it: killed, interrupted, taken up again, in two processes."""

from __future__ import annotations

import csv
import errno
import json
import shutil
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import forked
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from aaccli import checkpoints
from aaccli.calibration import Calibration
from aaccli.checkpoints import load_captioner, write_info
from aaccli.cli import app
from aaccli.commands import session
from aaccli.errors import TrainingError

RATE = 8000
TINY = """
recipe = "base+l1"
[data]
workers = 1
[model.front_end]
sample_rate = 8000
window = 256
hop = 128
fmax = 4000
[model.transformer]
width = 16
heads = 2
feed_forward = 32
[training]
batch_size = 2
accumulate = 2
epochs = 2
validation_share = 0.3
decode_epochs = 0
save_minutes = 0.0
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory, tone, write_wav) -> list[str]:
    """Options that name nine recordings, one of them missing, and settings."""
    folder = tmp_path_factory.mktemp("data")
    rows = [["file_name", "caption"], ["gone.wav", "nothing"]]
    for i in range(8):
        write_wav(folder / f"{i}.wav", tone(200 + 300 * i, 0.3 + 0.05 * i, RATE), RATE)
        rows += [[f"{i}.wav", f"tone {i} hums"], [f"{i}.wav", "a tone"]]
    with (folder / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (folder / "tiny.toml").write_text(TINY)
    return [
        *("--config", str(folder / "tiny.toml"), "--csv", str(folder / "captions.csv"), "--audio", str(folder)),
        *("--device", "cpu", "--threads", "1"),
    ]


def aac(*arguments: object):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


# Sends a signal to itself at a moment of the code, not of the clock: after the so-manieth call of a function.
SIGNALLED = """
import os, pkgutil
owner, name, calls, number = pkgutil.resolve_name({owner!r}), {name!r}, {calls}, {number}
whole = getattr(owner, name)

def signalled(*arguments, **named):
    global calls
    calls -= 1
    result = whole(*arguments, **named)
    if calls == 0:
        os.kill(os.getpid(), number)
    return result

setattr(owner, name, signalled)
from aaccli.cli import app
app()
"""
STEP, SYNC, WEIGHTS = (
    ("aaccli.training.journal:Journal", "step"),
    ("os", "fsync"),
    ("aaccli.checkpoints", "save_weights"),
)


def signalled(place: tuple[str, str], calls: int, number: signal.Signals, *arguments: object):
    """Train in a process that gets a signal after so many calls of the function at ``place``."""
    code = SIGNALLED.format(owner=place[0], name=place[1], calls=calls, number=int(number))
    return forked.run(code, "train", *arguments)


def steps(run: Path) -> list[dict]:
    """Steps and epochs as they were told, without what the clock says."""
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    clock = {"seconds", "seconds_per_step", "clips_per_second"}
    return [{k: v for k, v in entry.items() if k not in clock} for entry in entries]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Path:
    """A run never interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    done = aac(*data, "--out", run)
    assert done.exit_code == 0, done.stderr
    assert "1 of 9 recordings are left out: 1 missing" in done.stderr
    return run


def test_what_a_run_leaves(whole):
    assert len(steps(whole)) == 2 * (3 + 1)  # 12 captions in steps of four
    assert (whole / "left_out.csv").read_text().splitlines()[1].endswith("gone.wav,missing,no such file")
    assert "<svg" in (whole / "curves.html").read_text() and "http-equiv" not in (whole / "curves.html").read_text()
    card = (whole / "best" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: aac\n") and "base+l1" in card and "width = 16" in card
    assert str(whole.parent) not in card.split("```sh")[0]
    assert load_captioner(whole / "best")[2].trained["recipe"] == "base+l1"
    assert sorted(p.name for p in (whole / "best").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "vocabulary.json",
    ]


def test_killed_again_and_again_it_goes_on_bit_by_bit(data, whole, tmp_path):
    """Killed between a step and its state, while a state is written, and between OUT/last and OUT/best."""
    run = tmp_path / "run"
    again = ("--out", run, "--resume", "--device", "cpu", "--threads", 1)
    for place, calls, options, left in [
        (STEP, 2, (*data, "--out", run), "state/epoch0000-step000001.pt"),
        (SYNC, 1, again, "state/.epoch0000-step000002.pt.part"),
        (WEIGHTS, 2, again, "last/config.json"),
    ]:
        killed = signalled(place, calls, signal.SIGKILL, *options)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert (run / left).is_file()
    assert not (run / "best").exists()
    done = aac(*again)
    assert done.exit_code == 0, done.stderr
    assert steps(run) == steps(whole)
    assert len(list((run / "state").iterdir())) == 2, "no half of one"
    assert sorted(p.name for p in run.iterdir()) == sorted(p.name for p in whole.iterdir())
    for name in ("best", "last"):
        assert (run / name / "model.safetensors").read_bytes() == (whole / name / "model.safetensors").read_bytes()


def test_ctrl_c_ends_the_step_saves_and_exits_130(data, whole, tmp_path):
    run = tmp_path / "run"
    stopped = signalled(STEP, 1, signal.SIGINT, *data, "--out", run, "--save-minutes", 60)
    assert stopped.returncode == 130, stopped.stderr
    assert "--resume" in stopped.stderr and "Traceback" not in stopped.stderr
    (state,) = (run / "state").iterdir()
    assert state.name == f"epoch0000-step{len(steps(run)):06d}.pt"
    refused = aac(*data, "--out", run)
    assert refused.exit_code == 2 and "--resume" in refused.stderr
    other = aac(*data, "--out", run, "--resume", "--batch-size", 3)
    assert other.exit_code == 2 and "training.batch_size: 2 → 3" in other.stderr
    state.write_bytes(state.read_bytes()[:1000])
    broken = aac(*data, "--out", run, "--resume")
    assert broken.exit_code == 1 and "cut short" in broken.stderr


def test_two_runs_do_not_share_a_folder(data, tmp_path):
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"):
        refused = aac(*data, "--out", tmp_path / "run")
        tagging = CliRunner().invoke(app, ["pretrain", "--sounds", str(tmp_path), "--out", str(tmp_path / "run")])
    for result in (refused, tagging):
        assert result.exit_code == 2 and "another aac trains in it" in result.stderr


def test_two_processes_learn_as_one(data, whole, tmp_path):
    run = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    torchrun = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # what it tells both of
    ranks = [{**torchrun, "RANK": str(i), "LOCAL_RANK": str(i)} for i in range(2)]
    with ThreadPoolExecutor(2) as pool:
        train = (forked.AAC, "train", *data, "--out", run)
        both = list(pool.map(lambda rank: forked.run(*train, environment=rank), ranks))
    assert [done.returncode for done in both] == [0, 0], both
    assert [done.stderr.count("epoch 2/2: ") for done in both] == [1, 0], "one of them speaks"
    assert not any("Warning" in done.stderr for done in both)
    shared, one = steps(run), steps(whole)
    assert [(x["kind"], x["epoch"], x.get("step")) for x in shared] == [
        (x["kind"], x["epoch"], x.get("step")) for x in one
    ]
    for a, b in zip(shared, one, strict=True):
        names = (
            ("loss", "cross_entropy", "rlssr", "gradient_norm")
            if a["kind"] == "step"
            else ("train_loss", "validation_loss")
        )
        assert [a[n] for n in names] == pytest.approx([b[n] for n in names], rel=1e-4), a


def test_show_config_prints_what_would_run(data, tmp_path):
    done = aac("--show-config", "--recipe", "base-encoder+pann", "--lr", "1e-5", "--no-encoder", "--rlssr", "cosine")
    assert done.exit_code == 0
    for line in (
        'recipe = "base-encoder+pann"',
        'init = "cnn10"',
        "learning_rate = 1e-05",
        "encoder_layers = 0",
        'distance = "cosine"',
    ):
        assert line in done.stdout
    (tmp_path / "again.toml").write_text(done.stdout)
    assert aac("--show-config", "--config", tmp_path / "again.toml").stdout == done.stdout


def test_resume_without_a_run_begins_one(data, tmp_path):
    done = aac(*data, "--out", tmp_path / "run", "--resume", "--epochs", 1, "--cache", tmp_path / "cache")
    assert done.exit_code == 0, done.stderr
    assert "no checkpoint yet" in done.stderr
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 8


@pytest.fixture
def given_to_train(monkeypatch) -> list[tuple[set[str], set[str]]]:
    """Names of the recordings to train on and to validate with; there it stops."""
    given = []

    def stop(clips, validation, *_):
        given.append(tuple({clip.path.name for clip in some} for some in (clips, validation)))
        raise TrainingError("enough")

    monkeypatch.setattr(session, "run_on_clips", stop)
    return given


def test_clotho_is_trained_on_development_and_validated_on_validation(data, tmp_path, given_to_train):
    sounds, clotho = Path(data[-5]), tmp_path / "clotho"
    for split, numbers in {"development": range(4), "validation": range(4, 6), "evaluation": range(6, 8)}.items():
        shutil.copytree(sounds, clotho / split, ignore=lambda _, names: {n for n in names if not n.endswith(".wav")})
        rows = "".join(f"{i}.wav,tone {i} hums\n" for i in numbers)
        (clotho / f"clotho_captions_{split}.csv").write_text(f"file_name,caption_1\n{rows}")
    arguments = ("--clotho", clotho, *data[:2], *data[-4:], "--init", "none")
    assert aac(*arguments, "--out", tmp_path / "run").exit_code == 1
    assert given_to_train.pop() == ({f"{i}.wav" for i in range(4)}, {"4.wav", "5.wav"})
    (clotho / "clotho_captions_validation.csv").unlink()  # as in version 1
    assert aac(*arguments, "--out", tmp_path / "another").exit_code == 1
    train, validation = given_to_train.pop()
    assert (len(train), len(validation)) == (3, 1) and train | validation == {f"{i}.wav" for i in range(4)}


def test_recordings_of_which_none_is_there(data, tmp_path, given_to_train):
    (tmp_path / "captions.csv").write_text("file_name,caption\ngone.wav,nothing\n")
    options = [str(tmp_path / "captions.csv") if option.endswith("captions.csv") else option for option in data]
    refused = aac(*options, "--out", tmp_path / "run")
    assert refused.exit_code == 1 and "captions: none of 1 recordings can be trained on, such as" in refused.stderr
    assert given_to_train == []


def test_a_run_does_not_go_on_with_other_data(data, whole, tmp_path):
    run, captions = tmp_path / "run", tmp_path / "captions.csv"
    shutil.copytree(whole, run)
    captions.write_text("file_name,caption\n0.wav,tone 0 hums\n1.wav,tone 1 hums\n2.wav,a tone\n")
    config = run / "config.toml"
    config.write_text(config.read_text().replace(data[3], str(captions)))
    refused = aac("--out", run, "--resume", "--epochs", 3, *data[-4:])
    assert refused.exit_code == 1
    assert "was trained on other data (then " in refused.stderr and f"--init {run}/best" in refused.stderr


def test_fine_tuning_keeps_the_old_words_and_no_calibration_of_the_old_weights(data, whole, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(whole / "best", old)
    _, words, info = load_captioner(old)
    write_info(old, replace(info, calibration=Calibration(2.0, 1.0)))
    (tmp_path / "captions.csv").write_text("file_name,caption\n0.wav,a whale sings\n1.wav,a tone\n2.wav,a tone\n")
    options = [str(tmp_path / "captions.csv") if option.endswith("captions.csv") else option for option in data]
    # Sizes and front end come from the captioner, not from these settings.
    settings = "".join(line for line in TINY.splitlines(True) if "recipe" not in line).split("[model")[0]
    (tmp_path / "tiny.toml").write_text(settings)
    options = [str(tmp_path / "tiny.toml") if option.endswith("tiny.toml") else option for option in options]
    done = aac(*options, "--init", old, "--out", tmp_path / "run", "--epochs", 1, "--batch-size", 1)
    assert done.exit_code == 0, done.stderr
    assert "captioner of old: " in done.stderr and "missing" not in done.stderr
    net, vocabulary, tuned = load_captioner(tmp_path / "run" / "best")
    assert vocabulary.words == (*words.words, "sings", "whale")
    assert net.config == info.model
    assert not tuned.calibration.is_fitted
    assert tuned.trained["init"] == "old"


def test_tensorboard_that_is_not_installed_is_an_error_with_a_way_out(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = aac(*data, "--out", tmp_path / "run", "--tensorboard")
    assert done.exit_code == 2 and "pip install tensorboard" in done.stderr
    assert "left out" not in done.stderr, "before recordings are checked"


def test_a_disk_that_is_full_stops_before_anything_is_lost(data, whole, tmp_path, monkeypatch):
    run, write, written = tmp_path / "run", checkpoints.save_weights, []

    def full(path, state, store):
        written.append(path)
        if len(written) > 2:  # the first epoch's best and last are there
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, state, store)

    monkeypatch.setattr(checkpoints, "save_weights", full)
    failed = aac(*data, "--out", run)
    assert failed.exit_code == 1
    assert "No space left on device" in failed.stderr and "--resume" in failed.stderr
    monkeypatch.undo()
    assert aac("--out", run, "--resume", "--device", "cpu", "--threads", 1).exit_code == 0
    assert steps(run) == steps(whole)


def test_the_best_network_is_scored_at_the_end(data, tmp_path):
    run = tmp_path / "run"
    done = aac(*data, "--out", run, "--epochs", 1, "--decode-epochs", 9, "--store", "float16")
    assert done.exit_code == 0, done.stderr
    assert "captioning the validation clips with the best network, of epoch 1" in done.stderr
    assert "CIDEr-D" in (run / "best" / "README.md").read_text()
    assert "cider_d" in load_captioner(run / "best")[2].trained["epoch"]["scores"]
