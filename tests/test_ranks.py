"""Several processes, as torchrun starts them."""

import csv
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile
from torch import distributed
from typer.testing import CliRunner

from aaccli.cli import app
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


OPTIONS = ("--beam-size", "1", "--threads", "1")


def torchrun(processes, *arguments):
    """`aac caption` as PyTorch's launcher starts it; gives the exit code and what was said."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*launcher, "-m", "aaccli", "caption", *map(str, arguments), *OPTIONS],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


def alone(*arguments):
    done = CliRunner().invoke(app, ["caption", *map(str, arguments), *OPTIONS])
    return done.exit_code, done.stderr


def rows(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="this torch has no gloo")
def test_two_processes_take_up_what_one_began_and_give_what_one_gives(tmp_path):
    folder, out, whole = tmp_path / "in", tmp_path / "two.csv", tmp_path / "one.csv"
    folder.mkdir()
    for i in range(5):
        noise = 0.1 * np.random.default_rng(i).standard_normal(4000 + 900 * i)
        soundfile.write(folder / f"{i}.wav", noise, 16000)
    (folder / "2b.wav").write_text("no sound")
    assert alone(folder / "3.wav", "--out", out)[0] == 0
    code, said = torchrun(2, folder, "--out", out)
    assert "5 captioned, 1 failed" in said
    assert "1 were done before" in said
    assert code == 1
    assert [Path(row["file"]).name for row in rows(out)] == ["0.wav", "1.wav", "2.wav", "2b.wav", "3.wav", "4.wav"]
    assert alone(folder, "--out", whole)[0] == 1
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*.aac.[0-9]")), "the parts are joined"
    code, said = torchrun(2, folder, "--out", out, "--window", 2)
    assert code == 1
    assert "was begun with other settings" in said
    assert "[rank1]: Traceback" not in said and "aaccli/ranks.py" not in said, "the error to read is rank 0's"
    soundfile.write(folder / "2b.wav", np.zeros(4000), 16000)
    code, said = alone(folder, "--out", out)
    assert (code, "5 were done before" in said) == (0, True)
