"""What training says of the CNN10 it starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from aaccli.data.clips import Clip
from aaccli.fetching import hub
from aaccli.fetching.weights import find_init
from aaccli.model.captioner import ModelConfig
from aaccli.model.cnn10 import Cnn10, Cnn10Config
from aaccli.model.features import FrontEndConfig
from aaccli.training.config import TrainingConfig
from aaccli.training.runs import Run, read_init, run_on_clips


@pytest.fixture
def panns(tmp_path: Path) -> Path:
    """A file in the format of PANNs' checkpoints, front end and tagging head included."""
    state = Cnn10(Cnn10Config()).state_dict()
    state |= {"logmel_extractor.melW": torch.zeros(513, 64), "fc1.bias": torch.zeros(512)}
    torch.save({"iteration": 1, "model": state}, tmp_path / "Cnn10.pth")
    return tmp_path / "Cnn10.pth"


def run_from(init: Path | None, front_end: FrontEndConfig, folder: Path, small: ModelConfig) -> Run:
    soundfile.write(folder / "a.wav", np.zeros(4000), 44100)
    clip = Clip(folder / "a.wav", ("a dog barks",))
    model = ModelConfig(front_end, small.cnn10, small.transformer, small.rlssr)
    return run_on_clips([clip], [clip], model, TrainingConfig(), read_init(init), torch.device("cpu"))


def test_every_key_and_the_front_end_are_told(panns, tmp_path, tiny_model_config):
    run = run_from(find_init(str(panns)), FrontEndConfig(), tmp_path, tiny_model_config)
    keys, skipped, heard = run.start
    used = len(Cnn10(Cnn10Config()).state_dict())
    assert keys == f"CNN10 of Cnn10.pth: {used} tensors used"
    assert skipped == "skipped, front end and tagging head: logmel_extractor.melW, fc1.bias"
    assert "trained on 32 kHz, window 1024, hop 320 (10 ms)" in heard
    assert "here it hears 44.1 kHz, window 1024, hop 512 (11.6 ms)" in heard


def test_the_same_front_end_needs_no_telling(panns, tmp_path, tiny_model_config):
    run = run_from(panns, FrontEndConfig(sample_rate=32000, hop=320), tmp_path, tiny_model_config)
    assert not [line for line in run.start if "trained on" in line]


def test_from_scratch_there_is_nothing_to_tell(tmp_path, tiny_model_config):
    assert run_from(find_init("none"), FrontEndConfig(), tmp_path, tiny_model_config).start == ()


def test_a_captioner_of_the_hub_may_be_the_start(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "find", lambda name, watch: asked.append(str(name)) or tmp_path)
    assert find_init("someone/captioner@v1") == tmp_path
    assert asked == ["someone/captioner@v1"]
    assert find_init(str(tmp_path / "here")) == tmp_path / "here"
    assert len(asked) == 1
