"""What CNN10 learns from in ``distill``: crops of recordings, alone and two at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.augment import DegradeConfig
from ..data.sounds import SILENCE, Recording, SoundBank, crop, faint_noise
from ..data.soundscapes import active_level
from ..model.features import FrontEndConfig

# Half the paper's frames a second: half the work for hardly a worse ear, and the window grows with the hop.
# Nothing above 8 kHz: most recordings of ESC-50 hold nothing there and some labels do, so that a network that hears
# it tells labels by it, and fails on recordings of other people (34 of 45 clips named, 15 with the top filled).
FRONT_END = FrontEndConfig(window=2048, hop=1024, fmax=8000.0)


@dataclass(frozen=True)
class DistillConfig:
    """How CNN10 is taught."""

    steps: int = 40000
    batch_size: int = 16
    seconds: float = 2.0  # length of a crop
    learning_rate: float = 1e-3  # Adam; constant after the warm-up, then down to zero in a straight line
    warmup_steps: int = 300
    head_steps: int = 0  # first of all, in which only what is new beside a CNN10 that has learned already is trained
    cooldown: float = 0.25  # share of the steps in which the learning rate falls
    fixed_blocks: int = 0  # first blocks of CNN10 that stay as they are: half of the work is in the first two
    ema: float = 0.999
    teacher_weight: float = 1.0  # of the embeddings' squared error, beside the labels' cross-entropy
    head_dropout: float = 0.2
    full_weight: int = 20  # labels with as many recordings are drawn equally often; rarer ones less, down to a tenth
    unlabelled: float = 0.12  # share of crops from recordings of no known label, which only the teacher speaks of
    mixup: float = 0.7  # share of crops that are two sounds
    mixup_db: float = 4.0  # they differ in level by up to this
    speed: float = 0.15  # a crop is played faster or slower, pitch and all, by up to this
    degrade: DegradeConfig = field(default_factory=DegradeConfig)
    save_minutes: float = 5.0
    validate_steps: int = 2000
    seed: int = 0


class Lessons:
    """Draws crops: what CNN10 hears, what the teacher hears, and the labels."""

    def __init__(self, bank: SoundBank, labels: Sequence[str], config: DistillConfig) -> None:
        self.bank, self.labels, self.config = bank, list(labels), config
        weights = [min(1.0, max(0.1, len(bank.by_label.get(x, ())) / config.full_weight)) for x in self.labels]
        weights[self.labels.index(SILENCE)] = 0.5
        self.weights = np.array(weights) / sum(weights)
        self.others = [r for r in bank.recordings if r.label not in set(self.labels)]
        self.samples = round(config.seconds * bank.sample_rate)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Sounds (B, 2, samples), which CNN10 hears as their sum, and targets (B, labels).

        The second sound is zeros where there is but one; a row of zeros in the targets is no known label.
        """
        random = np.random.default_rng([self.config.seed, step])
        rows = [self._row(random) for _ in range(self.config.batch_size)]
        return torch.stack([w for w, _ in rows]), torch.stack([t for _, t in rows])

    def _row(self, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        waveform, target = self._sound(random)
        second, silence = torch.zeros_like(waveform), self.labels.index(SILENCE)
        if random.random() < self.config.mixup and target[silence] == 0:
            other, more = self._sound(random)
            if more[silence] == 0:
                second = other * 10 ** (random.uniform(-1, 1) * self.config.mixup_db / 20)
                known = target.any() and more.any()  # half known is unknown
                target = (target + more) / 2 if known else torch.zeros(len(self.labels))
        sounds = torch.stack((waveform, second))
        peak = sounds.sum(0).abs().max()
        if target[silence] == 0 and peak > 0:
            sounds = sounds * (0.9 / peak)
        return sounds, target

    def _sound(self, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        target = torch.zeros(len(self.labels))
        if self.others and random.random() < self.config.unlabelled:
            waveform = self.bank.waveform(self.others[random.integers(len(self.others))])
        else:
            index = int(random.choice(len(self.labels), p=self.weights))
            target[index] = 1.0
            if self.labels[index] == SILENCE:
                return faint_noise(self.samples, random), target
            waveform = self.bank.pick(self.labels[index], random)
        speed = 1 + random.uniform(-1, 1) * self.config.speed if random.random() < 0.6 else 1.0
        piece = crop(waveform, round(self.samples * speed), random)
        if speed != 1.0:
            piece = F.interpolate(piece[None, None], size=self.samples, mode="linear")[0, 0]
        return piece / active_level(piece, self.bank.sample_rate), target


def held_out_mixtures(
    held_out: Sequence[tuple[Recording, Tensor]], rate: int, count: int = 200, seconds: float = 5.0, seed: int = 0
) -> Iterator[tuple[Tensor, str, str]]:
    """Two held-out sounds at the same time, equally loud, and their labels; pairs of one label are left out."""
    random = np.random.default_rng(seed)
    for pair in random.integers(len(held_out), size=(count, 2)):
        (one, first), (other, second) = (held_out[i] for i in pair)
        if one.label != other.label:
            sounds = [crop(w, round(seconds * rate), random) for w in (first, second)]
            mixture = torch.stack([sound / active_level(sound, rate) for sound in sounds]).sum(0)
            yield mixture * (0.9 / mixture.abs().max()), one.label, other.label
