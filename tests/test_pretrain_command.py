"""``aac pretrain``: what it trains on, and which tagger it keeps. That taggers learn is tested in test_tagging.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from aaccli.checkpoints import load_tagger
from aaccli.cli import app
from aaccli.model.cnn10 import Tagger
from aaccli.training import tagging
from aaccli.training.tagging import TaggingScore, TaggingStep

RATE = 8000
TOP1 = (0.5, 0.25, 0.75, 0.75)  # of the validations; the third is the first that is best


@pytest.fixture(scope="module")
def sounds(tmp_path_factory, tone, write_wav) -> Path:
    """Three labels, one of which no book knows, each once in folds 1 and 4; and a recording that is no sound."""
    folder, rows = tmp_path_factory.mktemp("labelled"), ["file,label,fold"]
    for i, label in enumerate(("dog", "rain", "zzyzx")):
        for fold in (1, 4):
            write_wav(folder / f"{label}{fold}.wav", tone(200 + 300 * i, 0.1, RATE), RATE)
            rows.append(f"{label}{fold}.wav,{label},{fold}")
    (folder / "broken.wav").write_bytes(b"no sound")
    (folder / "manifest.csv").write_text("\n".join([*rows, "broken.wav,dog,1"]))
    return folder


def tagger_of(labels, mels: int, value: float) -> Tagger:
    """One that can be told from others."""
    tagger = Tagger(tagging.TAGGING_CNN10, len(labels), mels)
    torch.nn.init.constant_(tagger.fc1.bias, value)
    return tagger


@pytest.fixture
def trained(monkeypatch) -> SimpleNamespace:
    """What is asked of the training, which only says how it goes."""
    asked = SimpleNamespace()

    def train(bank, validation, labels, front_end, cnn10, config, device, on_step, on_score):
        asked.bank, asked.validation, asked.labels = bank, validation, labels
        asked.front_end, asked.config, asked.device = front_end, config, device
        on_step(TaggingStep(1, 8, 1, 0.5, 3.0))
        for epoch, top1 in enumerate(TOP1 if validation else (), start=1):
            on_score(TaggingScore(epoch, 1.0, top1, 1.0), tagger_of(labels, front_end.mels, float(epoch)))
        return tagger_of(labels, front_end.mels, 9.0)

    monkeypatch.setattr(tagging, "train_tagger", train)
    return asked


def pretrain(*arguments: object):
    return CliRunner().invoke(app, ["pretrain", *map(str, arguments), "--device", "cpu"])


def test_what_it_trains_on_and_the_best_is_kept(trained, sounds, tmp_path):
    settings = ("--epochs", 7, "--batch-size", 3, "--lr", 0.5, "--seed", 6, "--fmax", 9000)
    done = pretrain("--sounds", sounds, "--out", tmp_path / "run", *settings)
    assert done.exit_code == 0, done.stderr
    assert trained.labels == ["dog", "rain", "silence", "zzyzx"]
    assert [r.path.name for r in trained.bank.recordings] == ["dog1.wav", "rain1.wav", "zzyzx1.wav"]
    assert [r.path.name for r, _ in trained.validation] == ["dog4.wav", "rain4.wav", "zzyzx4.wav"]
    assert all(len(waveform) == 4410 for _, waveform in trained.validation)
    config = trained.config
    assert (config.epochs, config.batch_size, config.learning_rate, config.seed) == (7, 3, 0.5, 6)
    assert (trained.front_end.sample_rate, trained.front_end.fmax, trained.device.type) == (44100, 9000, "cpu")
    for said in ("left out: ", "broken.wav", "4 labels, 3 recordings to train on, 3 held out", "label first 75.0%"):
        assert said in done.stderr
    tagger, info = load_tagger(tmp_path / "run" / "tagger")
    assert tagger.fc1.bias[0] == 3.0
    assert (info.labels, info.front_end) == (tuple(trained.labels), trained.front_end)
    assert (info.trained["recordings"], info.trained["score"]["epoch"], info.trained["config"]["seed"]) == (3, 3, 6)


def test_where_nothing_is_held_out_the_last_is_kept(trained, sounds, tmp_path):
    arguments = ("--sounds", sounds, "--out", tmp_path, "--known-labels", "--validation-fold", 0, "--quiet")
    assert pretrain(*arguments).exit_code == 0
    assert trained.labels == ["dog", "rain", "silence"]
    assert len(trained.bank) == 4 and trained.validation == []
    tagger, info = load_tagger(tmp_path / "tagger")
    assert (tagger.fc1.bias[0].item(), info.trained["score"]) == (9.0, None)


def test_labels_of_which_none_is_known(trained, tmp_path):
    (tmp_path / "zzyzx").mkdir()
    (tmp_path / "zzyzx" / "a.wav").touch()
    done = pretrain("--sounds", tmp_path, "--out", tmp_path / "run", "--known-labels")
    assert done.exit_code == 1
    assert "try without --known-labels" in done.stderr
    assert not (tmp_path / "run").exists()
