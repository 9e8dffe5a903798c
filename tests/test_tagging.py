"""The tagger: its schedule, the crops it hears, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from aaccli.data.sounds import SILENCE, Recording, SoundBank
from aaccli.errors import DataError, TrainingError
from aaccli.model.cnn10 import Cnn10Config, Tagger
from aaccli.model.features import FrontEndConfig, LogMel, SpecAugmentConfig
from aaccli.training import tagging
from aaccli.training.tagging import (
    AveragedWeights,
    TaggingConfig,
    TaggingScore,
    TaggingStep,
    epoch_of_crops,
    score_tagger,
    train_tagger,
    warmup_cosine,
)

RATE = 8000
FRONT_END = FrontEndConfig(sample_rate=RATE, window=256, hop=128, mels=32, fmax=4000)
CNN10 = Cnn10Config(dropout=0.0, spec_augment=SpecAugmentConfig(time_masks=0, mel_masks=0))
CONFIG = TaggingConfig(epochs=1, crops_per_label=4, seconds=0.3, batch_size=6, coarse=0.0, validation_seconds=0.5)
LABELS = ["high", "low", "noise"]
CPU = torch.device("cpu")


def make_bank(folder: Path, tone, noise, write_wav, take: int) -> SoundBank:
    """Two recordings of each label, other ones for another take."""
    recordings = []
    for i in (1, 2):
        sounds = {
            "high": tone(2300 + 100 * i + 70 * take, 0.5, RATE, 0.3),
            "low": tone(300 + 40 * i + 25 * take, 0.5, RATE, 0.3),
            "noise": noise(0.5, RATE, 0.2, seed=10 * take + i),
        }
        for label, waveform in sounds.items():
            path = write_wav(folder / f"{label} {i} {take}.wav", waveform, RATE)
            recordings.append(Recording(path, label, take))
    bank = SoundBank(recordings, RATE)
    assert bank.load() == []
    return bank


@pytest.fixture(scope="module")
def bank(tmp_path_factory, tone, noise, write_wav) -> SoundBank:
    return make_bank(tmp_path_factory.mktemp("train"), tone, noise, write_wav, 0)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory, tone, noise, write_wav) -> list[tuple[Recording, torch.Tensor]]:
    bank = make_bank(tmp_path_factory.mktemp("held out"), tone, noise, write_wav, 1)
    return [(recording, bank.waveform(recording)) for recording in bank.recordings]


def train(bank: SoundBank, validation=(), labels=LABELS, config=CONFIG, **callbacks) -> Tagger:
    return train_tagger(bank, validation, labels, FRONT_END, CNN10, config, CPU, **callbacks)


# --- schedule and averages ---


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1000])
def test_warmup_cosine(steps):
    factors = [warmup_cosine(step, steps) for step in range(steps)]
    peak = int(np.argmax(factors))
    assert max(factors) == pytest.approx(1)
    assert min(factors) > 0, "every step learns"
    assert peak <= max(1, 0.05 * steps)
    assert (np.diff(factors[: peak + 1]) > 0).all()
    assert (np.diff(factors[peak + 1 :]) < 0).all()


def test_warmup_cosine_of_a_thousand_steps():
    factors = [warmup_cosine(step, 1000) for step in range(1000)]
    assert np.diff(factors[:50]) == pytest.approx(0.02), "a straight line up to step 50"
    assert factors[525] == pytest.approx(0.5, abs=0.01), "half at the middle of the fall"
    assert factors[287] == pytest.approx(0.854, abs=0.01), "a cosine: above a straight line at a quarter"
    assert factors[-1] < 1e-4
    assert warmup_cosine(1000, 1000) == pytest.approx(0, abs=1e-9)


def test_averaged_weights_follow_slowly():
    model = nn.BatchNorm1d(1)
    average = AveragedWeights(model, decay=0.9)
    for _ in range(300):
        average.update(model)
    with torch.no_grad():
        model.weight.fill_(3.0)
    model.num_batches_tracked.fill_(7)
    average.update(model)
    assert average.state["weight"].item() == pytest.approx(1.2)
    assert average.state["num_batches_tracked"].item() == 7
    assert model.weight.item() == 3.0
    for _ in range(100):
        average.update(model)
    assert average.state["weight"].item() == pytest.approx(3.0, abs=0.01)


def test_first_weights_are_soon_forgotten():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 100.0)
    average = AveragedWeights(model, decay=0.9999)
    nn.init.constant_(model.weight, 1.0)
    for _ in range(60):
        average.update(model)
    assert average.state["weight"].item() == pytest.approx(1.0, abs=0.1)


# --- crops ---


def hear(bank: SoundBank, epoch: int, config=CONFIG, labels=LABELS) -> tuple[torch.Tensor, torch.Tensor]:
    """All crops of an epoch and their targets."""
    waveforms, targets = zip(*epoch_of_crops(bank, labels, config, epoch), strict=True)
    return torch.cat(waveforms), torch.cat(targets)


def test_crops_of_a_seed_and_epoch(bank):
    first, again = hear(bank, 1), hear(bank, 1)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], hear(bank, 2)[0])
    assert not torch.equal(first[0], hear(bank, 1, replace(CONFIG, seed=1))[0])


def test_sizes_of_batches(bank):
    batches = list(epoch_of_crops(bank, LABELS, replace(CONFIG, batch_size=5), 0))
    assert [tuple(waveforms.shape) for waveforms, _ in batches] == [(5, 2400), (5, 2400), (2, 2400)]
    assert [tuple(targets.shape) for _, targets in batches] == [(5, 3), (5, 3), (2, 3)]


def test_labels_weigh_the_same(bank):
    """Also where they have other numbers of recordings; without mixing, each crop is of one label."""
    few = SoundBank([r for r in bank.recordings if r.label != "low" or " 1 " in r.path.name], RATE)
    few.load()
    _, targets = hear(few, 0, labels=[*LABELS, SILENCE])
    assert targets.sum(0).tolist() == [4, 4, 4, 4]
    assert sorted(targets.unique().tolist()) == [0, 1]


def share_mixed(bank: SoundBank, epoch: int, labels=LABELS) -> float:
    _, targets = hear(bank, epoch, TaggingConfig(epochs=10, crops_per_label=80, seconds=0.02, mixup=0.6), labels)
    assert torch.equal(targets.sum(1), torch.ones(len(targets)))
    assert set(targets.unique().tolist()) <= {0, 0.5, 1}
    return float((targets == 0.5).any(1).float().mean())


def test_mixing_grows(bank):
    """A crop in three is mixed with its own label, which does not show in the target."""
    assert share_mixed(bank, 0) == 0
    assert share_mixed(bank, 2) == pytest.approx(0.24 * 2 / 3, abs=0.08)
    assert share_mixed(bank, 5) == pytest.approx(0.6 * 2 / 3, abs=0.08)
    assert share_mixed(bank, 9) == pytest.approx(0.6 * 2 / 3, abs=0.08)


def test_silence_is_not_mixed(bank):
    config = TaggingConfig(epochs=1, crops_per_label=40, seconds=0.02, mixup=1.0)
    _, targets = hear(bank, 1, config, [*LABELS, SILENCE])
    assert (targets[:, :3] == 0.5).any(), "others are"
    assert set(targets[:, 3].unique().tolist()) == {0, 1}


def test_crops_are_of_their_labels(bank):
    """The strongest frequency tells the tones; silence is faint."""
    waveforms, targets = hear(bank, 0, replace(CONFIG, crops_per_label=10), [*LABELS, SILENCE])
    strongest = torch.fft.rfft(waveforms).abs().argmax(1) / CONFIG.seconds
    assert ((strongest[targets[:, 0] == 1] - 2400).abs() < 200).all()
    assert ((strongest[targets[:, 1] == 1] - 340).abs() < 80).all()
    assert (waveforms[targets[:, 3] == 1].square().mean(1) < 1e-5).all()
    assert (waveforms[targets[:, 3] == 0].square().mean(1) > 1e-5).all()


def test_crops_differ_in_level(bank):
    waveforms, targets = hear(bank, 0, replace(CONFIG, crops_per_label=40, gain_db=20.0))
    peaks = waveforms[targets[:, 1] == 1].abs().amax(1)
    assert peaks.max() == pytest.approx(0.3, abs=0.06)
    assert peaks.min() == pytest.approx(0.03, abs=0.02)


# --- scores ---


class Fixed(nn.Module):
    """Stands in for a tagger: always the same logits."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(1, 1)
        self.logits = torch.tensor([logits])

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        self.heard = frames
        return self.logits


def score(logits: list[float], *truths: str) -> TaggingScore:
    validation = [(Recording(Path("a.wav"), truth, 1), torch.zeros(8000)) for truth in truths]
    return score_tagger(Fixed(logits), LogMel(FRONT_END), validation, ["a", "b", "c", "d"], CONFIG, 7)


def test_score():
    result = score([0.0, 3.0, 2.0, 1.0], "a", "b", "c", "d", "b")
    assert result.epoch == 7
    assert (result.top1, result.top3) == (0.4, 0.8)
    log_sum = np.log(np.exp([0, 3, 2, 1]).sum())
    assert result.loss == pytest.approx(log_sum - np.mean([0, 3, 2, 1, 3]))


def test_score_hears_the_start_of_a_recording():
    model = Fixed([1.0, 0.0])
    validation = [(Recording(Path("a.wav"), "a", 1), torch.cat([torch.ones(4000), torch.full((9000,), -7.0)]))]
    logmel = LogMel(FRONT_END)
    score_tagger(model, logmel, validation, ["a", "b"], CONFIG, 1)
    torch.testing.assert_close(model.heard, logmel(torch.ones(1, 4000)))


def test_a_diverged_tagger_scores_nothing():
    assert score([float("nan")] * 4, "a", "b").top1 == 0


def test_a_tagger_that_tells_nothing_scores_little():
    assert score([0.0] * 4, "a", "b", "c", "d").top1 <= 0.25


# --- training ---


@pytest.fixture(scope="module")
def learned(bank, held_out):
    """A tagger trained for some seconds; its steps, and its scores with the models they belong to."""
    steps: list[TaggingStep] = []
    scores: list[tuple[TaggingScore, Tagger]] = []
    config = replace(
        CONFIG, epochs=4, crops_per_label=12, seconds=0.5, coarse=0.5, mixup=0.2, gain_db=6.0, ema=0.9, validate_every=3
    )
    tagger = train(
        bank, held_out, config=config, on_step=steps.append, on_score=lambda score, model: scores.append((score, model))
    )
    return tagger, steps, scores


def test_tagger_learns_to_tell_three_sounds(learned):
    _, _, scores = learned
    score, _ = scores[-1]
    assert (score.top1, score.top3) == (1.0, 1.0)
    assert score.loss < 0.5, "one that guesses has 1.1"


def test_steps_are_told(learned):
    _, steps, _ = learned
    assert [step.step for step in steps] == list(range(1, 25))
    assert {step.steps for step in steps} == {24}
    assert [step.epoch for step in steps] == [1] * 6 + [2] * 6 + [3] * 6 + [4] * 6
    assert all(step.crops_per_second > 0 for step in steps)


def test_scores_are_of_every_so_many_epochs_and_the_last(learned):
    assert [score.epoch for score, _ in learned[2]] == [3, 4]


def test_tagger_is_the_one_last_scored(learned):
    tagger, _, scores = learned
    assert not tagger.training
    last = scores[-1][1].state_dict()
    assert all(torch.equal(value, last[key]) for key, value in tagger.state_dict().items())


def test_score_is_of_the_returned_tagger(learned, held_out):
    tagger, _, scores = learned
    score, last = score_tagger(tagger, LogMel(FRONT_END), held_out, LABELS, CONFIG, 4), scores[-1][0]
    assert (score.top1, score.top3) == (last.top1, last.top3)
    assert score.loss == pytest.approx(last.loss, rel=1e-3)


def test_training_of_a_seed(bank):
    config = replace(CONFIG, crops_per_label=2)
    losses: dict[str, list[float]] = {}
    for name, seed in {"first": 0, "again": 0, "other": 1}.items():
        said = losses[name] = []
        train(bank, config=replace(config, seed=seed), on_step=lambda step, said=said: said.append(step.loss))
    assert losses["first"] == pytest.approx(losses["again"], rel=1e-3)
    assert losses["first"] != pytest.approx(losses["other"], rel=1e-3)


def test_labels_without_recordings_are_named(bank):
    with pytest.raises(DataError, match=r"zebra, zebu$"):
        train(bank, labels=[*LABELS, "zebra", SILENCE, "zebu"])


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_ends_training(bank, monkeypatch, loss):
    real, steps = torch.nn.functional.cross_entropy, []
    monkeypatch.setattr(
        tagging.F, "cross_entropy", lambda logits, targets: real(logits, targets) * (loss if steps else 1)
    )
    with pytest.raises(TrainingError, match="step 1"):
        train(bank, config=replace(CONFIG, batch_size=3), on_step=steps.append)
    assert len(steps) == 1
