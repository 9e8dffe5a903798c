"""Several processes, as torchrun starts them."""

import csv
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile
from torch import distributed

from aaccli.ranks import Ranks, joined

REPOSITORY = Path(__file__).parents[1]


def test_shares_are_all_and_none_twice():
    items = list(range(23))
    for count in range(1, 30):
        shares = [list(Ranks(rank, count).share(items)) for rank in range(count)]
        assert sorted(chain.from_iterable(shares)) == items
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_without_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as ranks:
        assert (ranks, ranks.broadcast(["a"])) == (Ranks(), ["a"])
        ranks.wait()


def aac(*arguments, processes=0):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes else []
    return subprocess.run(
        [sys.executable, *launcher, "-m", "aaccli", "caption", *map(str, arguments), "--beam-size", "1"],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def rows(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="this torch has no gloo")
def test_two_processes_give_what_one_gives_and_either_takes_up_the_other(tmp_path):
    folder, out, alone = tmp_path / "in", tmp_path / "two.csv", tmp_path / "one.csv"
    folder.mkdir()
    for i in range(5):
        noise = 0.1 * np.random.default_rng(i).standard_normal(4000 + 900 * i)
        soundfile.write(folder / f"{i}.wav", noise, 16000)
    (folder / "2b.wav").write_text("no sound")
    two = aac(folder, "--out", out, processes=2)
    assert "5 captioned, 1 failed" in two.stderr
    assert two.returncode == 1
    assert [Path(row["file"]).name for row in rows(out)] == ["0.wav", "1.wav", "2.wav", "2b.wav", "3.wav", "4.wav"]
    one = aac(folder, "--out", alone)
    assert "5 captioned, 1 failed" in one.stderr
    assert out.read_bytes() == alone.read_bytes()
    assert not list(tmp_path.glob(".*.aac.[0-9]"))

    soundfile.write(folder / "2b.wav", np.zeros(4000), 16000)
    again = aac(folder, "--out", out)
    assert "6 captioned, 0 failed" in again.stderr
    assert "5 were done before" in again.stderr
