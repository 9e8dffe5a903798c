"""Recordings that cannot be trained on are found before training; features are kept on disk."""

from __future__ import annotations

import json
import os

import pytest
import torch

from aaccli.data.clips import Clip, ClipSource
from aaccli.data.featurecache import FeatureCache
from aaccli.model.features import FrontEndConfig
from aaccli.training import survey
from aaccli.training.survey import Survey, tell
from aaccli.vocabulary import Vocabulary

RATE = 8000
FRONT_END = FrontEndConfig(sample_rate=RATE, window=256, hop=128, fmax=4000)


@pytest.fixture
def clips(tmp_path, tone, write_wav) -> list[Clip]:
    """Two good ones, and one of each kind that is not."""
    (tmp_path / "broken.wav").write_bytes(b"RIFF nonsense")
    for name, seconds in {"a": 0.5, "b": 2.0, "short": 0.05, "cut": 0.9}.items():
        write_wav(tmp_path / f"{name}.wav", tone(300, seconds, RATE), RATE)
    whole = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    return [Clip(tmp_path / f"{name}.wav", ("a tone",)) for name in ("a", "gone", "broken", "cut", "b", "short")]


def test_all_that_is_wrong_is_found_and_lengths_are_measured(clips, tmp_path):
    told = []
    kept, left_out = Survey(tmp_path / "memo.json", FRONT_END, 1.0, workers=2).measure(clips, told.append)
    assert [(clip.path.name, clip.seconds) for clip in kept] == [("a.wav", 0.5), ("b.wav", 1.0)]
    assert [(x.path.name, x.reason) for x in left_out] == [
        ("gone.wav", "missing"),
        ("broken.wav", "broken"),
        ("cut.wav", "broken"),
        ("short.wav", "too short"),
    ]
    assert told == [1, 2, 3, 4, 5, 6]
    lines = tell("development", 6, left_out)
    assert lines[0] == "development: 4 of 6 recordings are left out: 1 missing, 2 broken, 1 too short"
    assert [line for line in lines if "broken.wav" in line]
    assert [line for line in lines if "cut.wav (cut short, 0.4" in line]
    assert tell("development", 6, []) == []


def test_a_recording_is_decoded_again_only_if_it_changed(clips, tmp_path, monkeypatch, tone, write_wav):
    decoded = []
    read = survey.audio.read
    monkeypatch.setattr(survey.audio, "read", lambda path, *a: decoded.append(path.name) or read(path, *a))

    def measure(seconds: float = 30.0):
        decoded.clear()
        return Survey(tmp_path / "memo.json", FRONT_END, seconds, workers=1).measure(clips)

    first = measure()
    assert sorted(decoded) == ["a.wav", "b.wav", "broken.wav", "cut.wav", "short.wav"]
    assert measure() == first and decoded == []
    write_wav(tmp_path / "a.wav", tone(300, 0.7, RATE), RATE)
    assert measure()[0][0].seconds == 0.7 and decoded == ["a.wav"]
    measure(1.0)
    assert len(decoded) == 5, "another longest length"
    (tmp_path / "memo.json").write_text(json.dumps({"key": 1}))
    measure()
    assert len(decoded) == 5, "not a memo of ours"


def test_features_are_kept_by_all_that_they_depend_on(clips, tmp_path, monkeypatch):
    good = [clips[0], clips[4]]
    cache = FeatureCache(tmp_path / "cache")

    def source(front_end=FRONT_END, seconds=30.0, kept=True) -> ClipSource:
        return ClipSource(good, Vocabulary(("a", "tone")), front_end, seconds, 1, cache if kept else None)

    computed = []
    compute = ClipSource._frames
    monkeypatch.setattr(ClipSource, "_frames", lambda self, path: computed.append(path.name) or compute(self, path))
    plain = source(kept=False)
    for _ in range(2):
        assert all(torch.equal(source()[i].frames, plain[i].frames) for i in range(2))
    assert computed.count("a.wav") == 1 + 2, "once for the cache, twice without"
    for other in (source(FrontEndConfig(sample_rate=RATE, window=256, hop=256, fmax=4000)), source(seconds=0.25)):
        assert len(other[0].frames) < len(plain[0].frames)
    os.utime(good[0].path, ns=(0, 0))
    before = len(computed)
    source()[0]
    assert len(computed) == before + 1, "the recording changed"
    for file in (tmp_path / "cache").rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(source()[1].frames, plain[1].frames), "cut short"
    assert torch.equal(source()[1].frames, plain[1].frames)


def test_a_cache_that_cannot_be_written_is_told_of_once(clips, tmp_path):
    (tmp_path / "cache").write_text("not a folder")
    told = []
    cache = FeatureCache(tmp_path / "cache", told.append)
    source = ClipSource([clips[0], clips[4]], Vocabulary(("a", "tone")), FRONT_END, 30.0, 1, cache)
    assert len(source[0].frames) == 32 and len(source[1].frames) == 126
    assert len(told) == 1 and "no longer kept" in told[0]
