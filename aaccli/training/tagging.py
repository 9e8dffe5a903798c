"""Train CNN10 as a tagger on labelled recordings: the stand-in for PANNs' training on AudioSet."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.sounds import SILENCE, Recording, SoundBank, crop, faint_noise, gain
from ..errors import DataError, TrainingError
from ..model.cnn10 import Cnn10Config, Tagger
from ..model.features import FrontEndConfig, LogMel, SpecAugmentConfig


@dataclass(frozen=True)
class TaggingConfig:
    """How the tagger is trained. None of it is the paper's, which takes CNN10 from PANNs."""

    epochs: int = 30
    crops_per_label: int = 20  # a label in an epoch, however few recordings it has: labels weigh the same
    seconds: float = 2.0  # length of a crop
    batch_size: int = 16  # larger ones learn more slowly at equal work
    learning_rate: float = 1e-3  # Adam; warms up for 5 % of the steps, then falls as a cosine
    coarse: float = 0.6  # first share of the epochs hears every other frame: half the cost, nearly the same lesson
    head_dropout: float = 0.2  # PANNs' 0.5 is for millions of clips: here it keeps the first epochs from learning
    mixup: float = 0.5  # share of crops that are mixed with another; grows to it over the first half
    gain_db: float = 18.0  # a crop is made fainter by up to this
    ema: float = 0.998  # decay of the running average of the weights, which is what is kept
    validate_every: int = 10  # epochs
    validation_seconds: float = 5.0  # of each recording, from its start
    seed: int = 0


# From scratch, in tens of epochs: PANNs' dropout and mask widths leave too little to learn from.
TAGGING_CNN10 = Cnn10Config(dropout=0.0, spec_augment=SpecAugmentConfig(time_masks=1, mel_masks=1))


@dataclass(frozen=True)
class TaggingStep:
    """One step, as told to whoever watches."""

    step: int
    steps: int
    epoch: int
    loss: float
    crops_per_second: float


@dataclass(frozen=True)
class TaggingScore:
    """How well held-out recordings are tagged."""

    epoch: int
    loss: float
    top1: float  # share of recordings whose label comes first
    top3: float  # share of recordings whose label is among the first three


class AveragedWeights:
    """Exponential moving average of a model's parameters and batch statistics."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.updates = 0

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))  # the first weights are worth nothing
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)


def train_tagger(
    train: SoundBank,
    validation: Sequence[tuple[Recording, Tensor]],
    labels: Sequence[str],
    front_end: FrontEndConfig,
    cnn10: Cnn10Config,
    config: TaggingConfig,
    device: torch.device,
    on_step: Callable[[TaggingStep], None] = lambda step: None,
    on_score: Callable[[TaggingScore, Tagger], None] = lambda score, tagger: None,
) -> Tagger:
    """Train a tagger; returns it with its averaged weights.

    Parameters
    ----------
    train : SoundBank
        Decoded recordings to train on.
    validation : sequence of (Recording, waveform)
        Held-out recordings, waveforms (samples,) at the front end's rate.
    labels : sequence of str
        The order of the tagger's outputs; ``silence`` needs no recording.
    on_score : callable
        Called with each validation's score and the averaged model it belongs to.

    Raises
    ------
    TrainingError
        The loss is no longer finite.
    """
    lacking = [label for label in labels if label != SILENCE and not train.by_label.get(label)]
    if lacking:
        raise DataError(f"no recording to train on for {', '.join(lacking)}")
    torch.manual_seed(config.seed)
    logmel = LogMel(front_end).to(device)
    model = Tagger(cnn10, len(labels), front_end.mels, config.head_dropout).to(device)
    average = AveragedWeights(model, config.ema)
    optimizer = torch.optim.Adam(model.parameters(), config.learning_rate)
    steps_per_epoch = math.ceil(len(labels) * config.crops_per_label / config.batch_size)
    steps = config.epochs * steps_per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, steps))

    step = 0
    for epoch in range(config.epochs):
        model.train()
        began, heard = time.monotonic(), 0
        stride = 2 if epoch < config.coarse * config.epochs else 1
        for waveforms, targets in epoch_of_crops(train, labels, config, epoch):
            logits = model(logmel(waveforms.to(device))[:, ::stride])
            loss = F.cross_entropy(logits, targets.to(device))
            if not torch.isfinite(loss):
                raise TrainingError(f"the tagger's loss is {loss.item()} at step {step}; try a smaller --lr")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update(model)
            step, heard = step + 1, heard + len(targets)
            on_step(TaggingStep(step, steps, epoch + 1, loss.item(), heard / (time.monotonic() - began)))
        if validation and ((epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs):
            averaged = with_weights(Tagger(cnn10, len(labels), front_end.mels).to(device), average.state)
            on_score(score_tagger(averaged, logmel, validation, labels, config, epoch + 1), averaged)
    return with_weights(model, average.state)


def with_weights(model: Tagger, state: dict[str, Tensor]) -> Tagger:
    model.load_state_dict(state)
    return model.eval()


def warmup_cosine(step: int, steps: int, warmup: float = 0.05) -> float:
    """Factor on the learning rate: linear up over the first share of the steps, then a cosine down to zero."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def epoch_of_crops(
    bank: SoundBank, labels: Sequence[str], config: TaggingConfig, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of (waveforms (B, samples), targets (B, labels)), the same for the same seed and epoch."""
    random = np.random.default_rng([config.seed, epoch])
    mixup = config.mixup * min(1.0, 2 * epoch / max(1, config.epochs))
    order = random.permutation(np.repeat(np.arange(len(labels)), config.crops_per_label))
    for start in range(0, len(order), config.batch_size):
        chosen = order[start : start + config.batch_size]
        crops, targets = zip(*(_crop(bank, labels, int(i), mixup, config, random) for i in chosen), strict=True)
        yield torch.stack(crops), torch.stack(targets)


def _crop(
    bank: SoundBank,
    labels: Sequence[str],
    index: int,
    mixup: float,
    config: TaggingConfig,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    waveform = _one_sound(bank, labels[index], config, random)
    target = F.one_hot(torch.tensor(index), len(labels)).float()
    other = int(random.integers(len(labels)))
    if random.random() < mixup and SILENCE not in (labels[index], labels[other]):
        waveform = (waveform + _one_sound(bank, labels[other], config, random)).clamp(-1, 1)
        target = (target + F.one_hot(torch.tensor(other), len(labels))) / 2
    return waveform, target


def _one_sound(bank: SoundBank, label: str, config: TaggingConfig, random: np.random.Generator) -> Tensor:
    samples = round(config.seconds * bank.sample_rate)
    if label == SILENCE:
        return faint_noise(samples, random)
    waveform = gain(crop(bank.pick(label, random), samples, random), random.uniform(-config.gain_db, 0))
    if random.random() < 0.3:  # recordings have a noise floor; digital silence between two sounds is no clue
        waveform = waveform + faint_noise(samples, random)
    return waveform


@torch.no_grad()
def score_tagger(
    model: Tagger,
    logmel: LogMel,
    validation: Sequence[tuple[Recording, Tensor]],
    labels: Sequence[str],
    config: TaggingConfig,
    epoch: int,
) -> TaggingScore:
    """Tag whole held-out recordings, one by one."""
    samples = round(config.validation_seconds * logmel.config.sample_rate)
    device = model.fc1.weight.device
    loss = top1 = top3 = 0.0
    for recording, waveform in validation:
        logits = model(logmel(waveform[None, :samples].to(device)))[0]
        truth = labels.index(recording.label)
        loss += F.cross_entropy(logits, torch.tensor(truth, device=device)).item()
        rank = int((~(logits < logits[truth])).sum()) - 1  # ties, and what is not a number, count against it
        top1, top3 = top1 + (rank < 1), top3 + (rank < 3)
    n = len(validation)
    return TaggingScore(epoch, loss / n, top1 / n, top3 / n)
