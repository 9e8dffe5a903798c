"""The captioner that comes with the package."""

import csv
from pathlib import Path

import forked
import numpy as np
import pytest
import soundfile

from aaccli import Captioner
from aaccli.checkpoints import DEFAULT_MODEL

CLIP = Path(__file__).parent / "data" / "siren.wav"


@pytest.fixture(scope="module")
def captioner():
    return Captioner.from_pretrained()


def test_it_is_small_and_says_where_it_comes_from():
    assert sum(path.stat().st_size for path in DEFAULT_MODEL.iterdir()) < 25_000_000
    card = (DEFAULT_MODEL / "README.md").read_text()
    for word in ("CC-BY-SA-4.0", "ATTRIBUTIONS.csv", "aac train", "does not know"):
        assert word in card
    assert "@@" not in card
    with (DEFAULT_MODEL / "ATTRIBUTIONS.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 1000
    assert all(row["licence"] and row["author"] for row in rows)


def test_its_front_end_travels_with_it(captioner):
    front_end = captioner.info.model.front_end
    assert (front_end.sample_rate, front_end.window, front_end.hop, front_end.mels) == (44100, 2048, 1024, 64)
    assert front_end.fmax == 8000


def test_a_fresh_machine_captions_the_clip_of_the_readme():
    done = forked.run(forked.AAC, "caption", CLIP)
    assert done.returncode == 0, done.stderr
    assert "siren" in done.stdout
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_silence_is_called_silence(captioner, tmp_path, level):
    noise = level * np.random.default_rng(0).standard_normal(3 * 44100)
    soundfile.write(tmp_path / "quiet.wav", noise, 44100, subtype="FLOAT")
    (result,) = captioner.stream([tmp_path / "quiet.wav"])
    assert any(word in result.caption.split() for word in ("silence", "silent", "quiet", "nothing", "no"))


def test_the_same_caption_at_any_rate_and_channel_count(captioner, tmp_path):
    sound, rate = soundfile.read(CLIP)
    soundfile.write(tmp_path / "stereo.flac", np.stack([sound, sound], 1), rate)
    (stereo,) = captioner.stream([tmp_path / "stereo.flac"])
    (mono,) = captioner.stream([CLIP])
    assert stereo.caption == mono.caption


def test_alone_and_in_a_batch(captioner, tmp_path):
    random = np.random.default_rng(0)
    paths = [CLIP]
    for i, seconds in enumerate((0.7, 2.3, 6.1)):
        paths.append(tmp_path / f"{i}.wav")
        envelope = np.abs(np.sin(np.arange(int(seconds * 16000)) * (i + 1) / 4000))
        soundfile.write(paths[-1], 0.2 * envelope * random.standard_normal(len(envelope)), 16000)
    alone = [next(captioner.stream([path])) for path in paths]
    together = list(captioner.stream(paths, batch_size=4))
    assert [c.caption for c in together] == [c.caption for c in alone]
    assert [c.score for c in together] == pytest.approx([c.score for c in alone], abs=1e-3)
    assert len({c.caption for c in alone}) > 1
