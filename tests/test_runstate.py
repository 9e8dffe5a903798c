"""States of a run on disk: whole, two of them, and the one before where the newest is damaged."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from aaccli.errors import CheckpointError
from aaccli.training.runstate import StateFolder


def state(number: int) -> dict:
    return {"number": number, "weights": torch.full((1000,), float(number)), "best": None}


@pytest.fixture
def folder(tmp_path) -> StateFolder:
    """Three states were written."""
    it = StateFolder(tmp_path / "state")
    for number, (epoch, step) in enumerate([(0, 9), (1, 0), (1, 10)]):
        it.save(state(number), epoch, step)
    return it


def test_the_newest_is_taken_and_the_one_before_is_kept(folder):
    assert [file.name for file in folder.files()] == ["epoch0001-step000000.pt", "epoch0001-step000010.pt"]
    found, problems = StateFolder(folder.folder).load()
    assert found["number"] == 2 and problems == []
    assert torch.equal(found["weights"], torch.full((1000,), 2.0))
    assert StateFolder(folder.folder / "nowhere").load() == (None, [])


@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
def test_a_state_cut_short_falls_back_to_the_one_before_and_says_so(folder, share):
    file = folder.files()[1]
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    again = StateFolder(folder.folder)
    found, (problem,) = again.load()
    assert found["number"] == 1
    assert "epoch0001-step000010.pt: cut short or damaged" in problem
    assert "going on from epoch0001-step000000.pt" in problem
    again.save(state(3), 1, 5)
    assert [f.name for f in again.files()] == ["epoch0001-step000000.pt", "epoch0001-step000005.pt"], "no damaged one"


def test_a_changed_byte_is_noticed(folder):
    file = folder.files()[1]
    content = bytearray(file.read_bytes())
    place = content.index(torch.full((1000,), 2.0).numpy().tobytes())
    content[place + 2000] ^= 1
    file.write_bytes(content)
    found, (problem,) = StateFolder(folder.folder).load()
    assert found["number"] == 1 and "damaged" in problem


def test_where_none_can_be_read_nothing_is_begun_anew(folder):
    for file in folder.files():
        file.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"step000010.*step000000.*--init OUT/best"):
        StateFolder(folder.folder).load()


def test_a_full_disk_keeps_the_one_before(folder, monkeypatch):
    def full(self: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*step000010\.pt is kept"):
        folder.save(state(3), 2, 0)
    monkeypatch.undo()
    assert StateFolder(folder.folder).load()[0]["number"] == 2
    assert not list(folder.folder.glob("*.part"))


def test_the_same_place_is_written_once(folder):
    folder.save(state(9), 1, 10)
    assert StateFolder(folder.folder).load()[0]["number"] == 2
    assert len(folder.files()) == 2
