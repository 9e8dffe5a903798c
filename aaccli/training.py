"""The training loop: cross entropy and RLSSR, accumulation, early stopping, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from .data import Batch, Examples, Source, batches
from .errors import TrainingError
from .model.captioner import CaptionerNet, Losses


@dataclass(frozen=True)
class TrainingConfig:
    """How a captioner is trained. Where the paper gives a value, it is the default."""

    batch_size: int = 64  # clips in one forward pass, the paper's
    accumulate: int = 4  # batches to one step of the optimizer, the paper's
    epochs: int = 200  # at most, the paper's
    patience: int = 10  # epochs without a better validation loss before stopping; open in the paper
    learning_rate: float = 3e-4  # the paper's
    alpha: float = 1.0  # weight of the cross entropy; the paper: alpha = beta
    beta: float = 1.0  # weight of RLSSR
    optimizer: Literal["adam", "adamw"] = "adam"  # open in the paper: its baselines' Adam
    weight_decay: float = 0.0  # open in the paper
    warmup_steps: int = 0  # steps in which the learning rate rises; open in the paper
    schedule: Literal["constant", "cosine"] = "constant"  # open in the paper
    clip_norm: float = 1.0  # gradients are scaled down to this norm: guards the first steps
    freeze_cnn: bool = False  # open in the paper: all of the network learns
    captions_per_clip: int = 1  # in one batch; the others come in other batches of the same epoch
    max_seconds: float = 30.0  # of a recording: Clotho's longest
    min_count: int = 1  # words that occur less often become unknown; open in the paper
    validation_share: float = 0.1  # held out where the data set has no validation split (Clotho 1)
    soundscapes: int = 4000  # composed for one epoch (labelled sounds only)
    keep_epochs: int = 1  # epochs before fresh soundscapes are composed, with a frozen CNN10 only
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "epochs", "captions_per_clip", "soundscapes", "keep_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1")


@dataclass(frozen=True)
class Step:
    """One step of the optimizer, as told to whoever watches."""

    epoch: int
    step: int  # in this epoch, from 1
    steps: int  # in an epoch
    loss: float
    cross_entropy: float
    rlssr: float
    clips_per_second: float


@dataclass(frozen=True)
class Epoch:
    """One epoch's result."""

    epoch: int  # from 1
    train_loss: float
    validation_loss: float  # alpha * cross entropy + beta * RLSSR
    validation_cross_entropy: float  # nats a word
    best: bool
    seconds: float
    seconds_per_step: float


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    best: Epoch
    epochs: int
    stopped_early: bool


def train(
    net: CaptionerNet,
    train_source: Source,
    validation_source: Source,
    config: TrainingConfig,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Result:
    """Train until the validation loss no longer falls.

    ``net`` holds the last weights at the end; ``on_epoch`` is where to keep the best ones.

    Raises
    ------
    TrainingError
        The loss is no longer finite.
    """
    torch.manual_seed(config.seed)
    net.cnn10.requires_grad_(not config.freeze_cnn)
    parameters = [p for p in net.parameters() if p.requires_grad]
    optimizer = _optimizer(parameters, config)
    per_epoch = math.ceil(len(train_source.epoch(0)) / (config.batch_size * config.accumulate))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _factor(config, per_epoch * config.epochs))
    best: Epoch | None = None

    for number in range(config.epochs):
        began, total, clips = time.monotonic(), 0.0, 0
        examples = train_source.epoch(number)
        stepping = time.monotonic()
        _train_mode(net, config)
        for step, group in enumerate(_groups_of_batches(examples, number, config), start=1):
            optimizer.zero_grad()
            parts = np.zeros(2)
            for batch in group:
                losses = batch_losses(net, batch.to(net.device), config)
                loss = config.alpha * losses.cross_entropy + config.beta * losses.rlssr
                (loss / len(group)).backward()
                parts += [losses.cross_entropy.item() / len(group), losses.rlssr.item() / len(group)]
                clips += len(batch.lengths)
            loss_value = float(config.alpha * parts[0] + config.beta * parts[1])
            if not math.isfinite(loss_value):
                raise TrainingError(
                    f"the loss is {loss_value} in epoch {number + 1}, step {step}; the last good checkpoint is kept, "
                    "try a smaller --lr"
                )
            torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            optimizer.step()
            schedule.step()
            total += loss_value
            speed = clips / (time.monotonic() - stepping)
            on_step(Step(number + 1, step, per_epoch, loss_value, float(parts[0]), float(parts[1]), speed))
        seconds_per_step = (time.monotonic() - stepping) / step
        validation = validate(net, validation_source.epoch(number), config)
        loss_value = config.alpha * validation[0] + config.beta * validation[1]
        better = best is None or loss_value < best.validation_loss
        seconds = time.monotonic() - began
        epoch = Epoch(number + 1, total / step, loss_value, validation[0], better, seconds, seconds_per_step)
        best = epoch if better or best is None else best
        on_epoch(epoch)
        if epoch.epoch - best.epoch >= config.patience:
            return Result(best, epoch.epoch, stopped_early=True)
    assert best is not None
    return Result(best, config.epochs, stopped_early=False)


def _optimizer(parameters: list[torch.nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, config.learning_rate, weight_decay=config.weight_decay)


def _factor(config: TrainingConfig, steps: int) -> Callable[[int], float]:
    """The factor on the learning rate at each step."""

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        if config.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - config.warmup_steps) / max(1, steps - config.warmup_steps)))

    return factor


def _train_mode(net: CaptionerNet, config: TrainingConfig) -> None:
    net.train()
    if config.freeze_cnn:
        net.cnn10.eval()  # its batch statistics stay as they were learned


def batch_losses(net: CaptionerNet, batch: Batch, config: TrainingConfig) -> Losses:
    """The losses of a batch on the network's device."""
    memory = (net.remember if config.freeze_cnn else net.encode)(batch.frames, batch.lengths)
    return net.losses(memory.repeat(len(batch.captions) // len(batch.lengths)), batch.captions)


def _groups_of_batches(examples: Examples, epoch: int, config: TrainingConfig) -> Iterator[list[Batch]]:
    """Batches in an order drawn for the epoch, ``accumulate`` at a time; the last group may be smaller."""
    order = np.random.default_rng([config.seed, epoch]).permutation(len(examples)).tolist()
    group: list[Batch] = []
    for batch in batches(examples, order, config.batch_size):
        group.append(batch)
        if len(group) == config.accumulate:
            yield group
            group = []
    if group:
        yield group


@torch.no_grad()
def validate(net: CaptionerNet, examples: Examples, config: TrainingConfig) -> tuple[float, float]:
    """Cross entropy (nats a word) and RLSSR over examples, batches weighed by their clips."""
    net.eval()
    sums, clips = np.zeros(2), 0
    for batch in batches(examples, range(len(examples)), config.batch_size):
        losses = batch_losses(net, batch.to(net.device), config)
        sums += np.array([losses.cross_entropy.item(), losses.rlssr.item()]) * len(batch.lengths)
        clips += len(batch.lengths)
    return float(sums[0] / clips), float(sums[1] / clips)
