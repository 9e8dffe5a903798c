"""The recipe of the ablation: its data set, the commands that it runs, its table; no network is trained here."""

from __future__ import annotations

import csv
import json
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile

from aaccli.data.clips import read_clotho
from aaccli.model.features import FrontEndConfig
from aaccli.recipes import ablation
from aaccli.training.settings import RECIPES

RATE = 8000
SCORES = {"bleu_4": 0.25, "rouge_l": 0.5, "meteor": 0.125, "cider_d": 1.0}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory, tone, write_wav) -> Path:
    """Two labels that the phrase book knows, in folds 1 and 4, and one that it does not know."""
    folder, rows = tmp_path_factory.mktemp("sounds"), ["file,label,fold"]
    for label, frequency in (("dog", 400), ("rain", 900), ("zzyzx", 2000)):
        for i, fold in enumerate((1, 1, 4, 4)):
            write_wav(folder / f"{label}{i}.wav", tone(frequency, 0.3, RATE), RATE)
            rows.append(f"{label}{i}.wav,{label},{fold}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    return folder


def test_the_data_set_is_clothos_and_its_splits_share_no_recording(sounds, tmp_path, monkeypatch):
    heard = []
    whole = ablation.SoundBank

    def bank(recordings, rate):
        heard.append({recording.path.name for recording in recordings})
        return whole(recordings, rate)

    monkeypatch.setattr(ablation, "SoundBank", bank)
    ablation.write_clotho(tmp_path, sounds, 4, RATE, 3, 2)
    assert {split: len(clips) for split, clips in read_clotho(tmp_path).items()} == {
        "development": 3,
        "validation": 2,
        "evaluation": 2,
    }
    assert heard == [
        {"dog0.wav", "dog1.wav", "rain0.wav", "rain1.wav"},
        {"dog2.wav", "rain2.wav"},
        {"dog3.wav", "rain3.wav"},
    ]
    with (tmp_path / "clotho_captions_evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file_name"] for row in rows] == ["00000.wav", "00001.wav"]
    assert all(row["caption_5"].strip() for row in rows)
    assert soundfile.info(tmp_path / "evaluation" / "00001.wav").samplerate == RATE
    before = (tmp_path / "development" / "00000.wav").stat().st_mtime_ns
    ablation.write_clotho(tmp_path, sounds, 4, RATE, 3, 2)
    assert len(heard) == 3 and (tmp_path / "development" / "00000.wav").stat().st_mtime_ns == before, "kept"


def test_the_table_has_means_deviations_and_the_papers_numbers():
    other = {**SCORES, "bleu_4": 0.75}
    lines = ablation.table({"base+pann+l1": [SCORES, other], "base": [SCORES]}).splitlines()
    assert lines[0] == "| recipe | seeds | bleu_4 | paper | rouge_l | paper | meteor | paper | cider_d | paper |"
    assert lines[1].count("---") == 10
    assert lines[2].startswith("| base+pann+l1 | 2 | 0.500 ± 0.354 | ")
    assert lines[2].endswith("| 1.000 ± 0.000 | 0.380 |"), "CIDEr in the paper's row Base + PANN + L1"
    assert lines[3].startswith("| base | 1 | 0.250 | ")


@pytest.fixture
def commands(monkeypatch) -> list[list[str]]:
    """The commands of aac that are run; evaluations leave scores."""
    run = []

    def started(command, check, env):
        run.append(command[3:])
        if command[3] == "evaluate":
            path = Path(command[command.index("--out") + 1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"systems": [{"scores": SCORES}]}))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", started)
    return run


def test_every_recipe_is_trained_and_scored_once(commands, tmp_path, monkeypatch):
    front_end = replace(FrontEndConfig(), sample_rate=RATE, fmax=4000.0)
    monkeypatch.setattr(ablation, "load_tagger", lambda _: (None, SimpleNamespace(front_end=front_end)))
    composed = []
    monkeypatch.setattr(ablation, "write_clotho", lambda *arguments: composed.append(arguments))
    settings = {"seeds": 2, "clips": 5, "held_out": 3, "epochs": 4, "extra": ["--device", "cpu"]}
    ablation.main(Path("sounds"), Path("ear"), tmp_path, fold=2, **settings)
    assert composed == [(tmp_path / "clotho", Path("sounds"), 2, RATE, 5, 3)]
    assert len(commands) == 2 * 2 * len(RECIPES)
    train, evaluate = commands[:2]
    named = dict(zip(train[1::2], train[2::2], strict=False))
    assert (named["--recipe"], named["--seed"], named["--epochs"], named["--init"]) == ("base", "0", "4", "none")
    assert train[-3:] == ["--resume", "--device", "cpu"]
    assert evaluate[evaluate.index("--model") + 1] == str(tmp_path / "base-0" / "best")
    inits = {c[c.index("--recipe") + 1]: c[c.index("--init") + 1] for c in commands if c[0] == "train"}
    assert {recipe for recipe, init in inits.items() if init == str(Path("ear").absolute())} == {
        recipe for recipe in RECIPES if "pann" in recipe
    }
    written = tomllib.loads((tmp_path / "small.toml").read_text())
    assert written["model"]["front_end"]["sample_rate"] == RATE and written["training"]["batch_size"] == 8
    table = (tmp_path / "table.md").read_text()
    assert table.count("| 2 | 0.250 ± 0.000 |") == len(RECIPES)
    ablation.main(Path("sounds"), Path("ear"), tmp_path, **settings)
    assert len(commands) == 2 * 2 * len(RECIPES), "what is done is kept"


def test_nothing_is_built_on_a_run_that_failed(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=3))
    with pytest.raises(SystemExit, match="3"):
        ablation.train_and_score("base", 0, 1, Path("nowhere"), Path("ear"), 1, ())
