"""The page of learning curves and the journal behind it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from aaccli.training.config import Epoch, Sample, Step
from aaccli.training.curves import render
from aaccli.training.journal import Journal
from aaccli.training.trainer import Position

STEP = Step(1, 1, 2, 3.0, 2.0, 1.0, 3e-4, 0.5, 10.0)
SHOWN = Sample("a <dog> barks", ("a dog & a cat", "barking"))
EPOCH = Epoch(1, 2.5, 2.25, 2.0, True, 9.0, 0.1, {"cider_d": 0.125}, (SHOWN,))


def write(out, entries, at=Position()):
    told: list[str] = []
    journal = Journal(out, "a run <1>", at, False, told.append)
    for entry in entries:
        (journal.step if isinstance(entry, Step) else journal.epoch)(entry)
    return journal, told


def test_a_page_needs_nothing_else_and_is_drawn_anew_each_epoch(tmp_path):
    journal, _ = write(tmp_path, [STEP, replace(STEP, step=2), EPOCH])
    page = (tmp_path / "curves.html").read_text()
    assert "http-equiv" in page and "in training" in page
    assert "validation 2.25" in page and "CIDEr-D 0.125" in page
    assert (
        "a &lt;dog&gt; barks" in page and "a dog &amp; a cat</bdi> / <bdi>barking" in page and "a run &lt;1&gt;" in page
    )
    assert "src=" not in page and "http:" not in page and "https:" not in page
    journal.close()
    assert "http-equiv" not in (tmp_path / "curves.html").read_text()


def test_pages_of_runs_that_have_hardly_begun_or_go_wrong():
    assert "no epoch is finished" in render("t", [], [], True)
    flat = {**vars(STEP), "loss": 0.0, "cross_entropy": 0.0, "rlssr": 0.0, "learning_rate": 0.0}
    epoch = {**vars(EPOCH), "examples": [], "validation_loss": float("inf"), "train_loss": 1e9}
    assert "<svg" in render("t", [flat] * 1000, [epoch], True)


def test_captions_may_hold_what_ends_a_line_elsewhere(tmp_path):
    said = replace(EPOCH, examples=(Sample("a\u2028b\x85c", ("d\x1ce",)),))
    journal, _ = write(tmp_path, [said])
    again, _ = write(tmp_path, [], Position(epoch=1))
    assert len(again.epochs) == 1
    assert json.loads(json.dumps(journal.epochs)) == again.epochs


def test_a_run_that_goes_on_writes_later_steps_anew(tmp_path):
    steps = [replace(STEP, epoch=e, step=s) for e in (1, 2) for s in (1, 2)]
    write(tmp_path, [*steps[:2], EPOCH, *steps[2:]])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "epo')  # killed while it wrote
    journal, _ = write(tmp_path, [], Position(epoch=1, step=1))
    journal.step(replace(STEP, epoch=2, step=2, loss=7.0))
    entries = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(e["kind"], e["epoch"], e.get("step")) for e in entries] == [
        ("step", 1, 1), ("step", 1, 2), ("epoch", 1, None), ("step", 2, 1), ("step", 2, 2),
    ]  # fmt: skip
    assert entries[-1]["loss"] == 7.0


def test_records_that_cannot_be_written_do_not_end_a_run(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    _, told = write(tmp_path, [STEP])
    assert told and "training goes on" in told[0]


def test_tensorboard_gets_the_numbers_by_the_step_of_the_run(tmp_path, monkeypatch):
    """A run that is taken up again purges what it will say anew."""
    boards = []

    class Board:
        def __init__(self, folder, purge_step):
            self.folder, self.purge_step, self.told = folder, purge_step, []
            boards.append(self)

        def add_scalar(self, name, value, step):
            self.told.append((name, value, step))

        def flush(self):
            self.told.append("flushed")

        def close(self):
            self.told.append("closed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Board))
    journal = Journal(tmp_path, "a run", Position(), True, pytest.fail)
    journal.step(STEP)
    journal.step(replace(STEP, step=2, loss=2.75))
    journal.epoch(EPOCH)
    journal.close()
    (board,) = boards
    assert (board.folder, board.purge_step) == (str(tmp_path / "tensorboard"), 1)
    assert ("train/loss", 3.0, 1) in board.told and ("train/loss", 2.75, 2) in board.told
    assert board.told[-5:] == [
        ("validation/loss", 2.25, 2),
        ("validation/cross_entropy", 2.0, 2),
        ("validation/cider_d", 0.125, 2),
        "flushed",
        "closed",
    ]
    Journal(tmp_path, "a run", Position(0, 1), True, pytest.fail)
    assert boards[1].purge_step == 2
