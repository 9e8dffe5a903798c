"""The training loop: cross entropy and RLSSR, accumulation over batches and ranks, early stopping.

Every draw depends on the seed, the epoch, the step and the batch alone. A run that is taken up again after any step
therefore takes the same next step, bit by bit, and no random state is stored.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from ..checkpoints import learned
from ..config import from_dict, to_dict
from ..data.clips import Batch, Examples, draw_seed
from ..errors import TrainingError
from ..model.winograd import use_winograd
from ..precision import pick_precision, scaler
from .batching import Indices, Loader, in_order, plan_epoch, steps_of_epoch
from .config import Epoch, Result, Step, TrainingConfig
from .distributed import BatchStatistics, Team
from .runs import Run
from .validation import Lesson, captions_of, mean_losses, samples, scores_of

# What PyTorch calls it; 2.14 warns of the former name.
_NAMES = inspect.signature(DistributedDataParallel).parameters
_NO_SYNC: dict[str, Any] = {"forward_sync_buffers" if "forward_sync_buffers" in _NAMES else "broadcast_buffers": False}


@dataclass(frozen=True)
class Position:
    """How far a run has come."""

    epoch: int = 0  # finished
    step: int = 0  # taken in the epoch that follows
    loss_sum: float = 0.0  # over these steps
    first_loss: float = 0.0  # of the first step of all


@dataclass(frozen=True)
class _Piece:
    """A batch of a step, as one rank takes it."""

    indices: Indices
    share: float  # of the step's clips; 0: only there to keep step with the other ranks
    number: int  # in the step


class Trainer:
    """A network that learns, and where it stands."""

    def __init__(
        self,
        run: Run,
        loader: Loader,
        team: Team = Team(),
        on_step: Callable[[Step], None] = lambda step: None,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
        save: Callable[[], None] = lambda: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Get ready.

        Parameters
        ----------
        run : Run
        loader : Loader
        team : Team
        on_step, on_epoch : callable
            Are told of each step and epoch. ``run.net`` holds the weights as they are then.
        save : callable
            Is called at the end of each epoch, every ``save_minutes``, and before an early end: keep ``state()``.
        should_stop : callable
            Asked after each step.
        """
        self.run, self.config, self.loader, self.team = run, run.config, loader, team
        self.on_step, self.on_epoch, self.save, self.should_stop = on_step, on_epoch, save, should_stop
        self.net = run.net
        self.net.cnn10.requires_grad_(not self.config.freeze_cnn)
        # What takes no part in the loss: DistributedDataParallel would wait for its gradients.
        self.net.rlssr.requires_grad_(self.net.config.rlssr.distance != "none")
        self.parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.optimizer = _optimizer(self.parameters, self.config)
        self.dtype = pick_precision(self.config.precision, self.net.device)
        self.scaler = scaler(self.dtype, self.net.device)
        if self.dtype == torch.float32:
            use_winograd(self.net.cnn10)
        self.lesson = Lesson(self.net, heard=self.config.freeze_cnn)
        self.at = Position()
        self.best: Epoch | None = None
        self.references: list[tuple[str, ...]] | None = None  # of the validation clips, once they are needed
        self.saved = time.monotonic()

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on from here."""
        return {
            "position": to_dict(self.at),
            "best": to_dict(self.best) if self.best else None,
            "net": learned(self.net.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Stand where ``state`` was taken; its network has the same shapes."""
        self.net.load_state_dict({**self.net.state_dict(), **state["net"]})
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.at = from_dict(Position, state["position"])
        self.best = from_dict(Epoch, state["best"]) if state["best"] else None

    def train(self) -> Result:
        """Train until the validation clips are captioned no better, or it is told to stop.

        Raises
        ------
        TrainingError
            The loss is no longer finite, or explodes.
        """
        lesson: Any = self.lesson
        if self.team.count > 1:
            # Batch statistics are put together by BatchStatistics, once a step.
            lesson = DistributedDataParallel(self.lesson, **_NO_SYNC)
        while self.at.epoch < self.config.epochs and not self._stalled():
            began, stood = time.monotonic(), self.at.step
            if not self._steps(lesson):
                return Result(self.best, self.at.epoch, interrupted=True)
            took = time.monotonic() - began
            epoch = self._validated(began, took / max(1, self.at.step - stood))
            self.best = epoch if epoch.best else self.best
            self.at = replace(self.at, epoch=epoch.epoch, step=0, loss_sum=0.0)
            self.on_epoch(epoch)
            self._save()
        return Result(self.best, self.at.epoch, stopped_early=self._stalled())

    def _stalled(self) -> bool:
        return self.best is not None and self.at.epoch - self.best.epoch >= self.config.patience

    def _save(self) -> None:
        self.save()
        self.saved = time.monotonic()

    def _steps(self, lesson: Any) -> bool:
        """The steps of an epoch that are left; false where it was told to stop."""
        number = self.at.epoch
        examples = self.run.train.epoch(number)
        count = len(examples)
        plan = plan_epoch(count, self.run.train.lengths(), self.config, number, self.team.count)[self.at.step :]
        pieces = [self._pieces(step) for step in plan]
        self.net.train()
        if self.config.freeze_cnn:
            self.net.cnn10.eval()  # its batch statistics stay as they were learned
        batches = self.loader.batches(examples, (piece.indices for step in pieces for piece in step))
        began, clips = time.monotonic(), 0
        for step, mine in zip(plan, pieces, strict=True):
            self._learning_rate(count)
            parts, norm, stop = self._step(lesson, [(piece, next(batches)) for piece in mine], len(step))
            loss = self.config.alpha * parts[0] + self.config.beta * parts[1]
            taken = self.at.step + 1
            first = self.at.first_loss or loss
            self.at = replace(self.at, step=taken, loss_sum=self.at.loss_sum + loss, first_loss=first)
            clips += sum(map(len, step))
            speed = clips / (time.monotonic() - began)
            steps, rate = steps_of_epoch(count, self.config), self.optimizer.param_groups[0]["lr"]
            self.on_step(Step(number + 1, taken, steps, loss, *parts, rate, norm, speed))
            if stop:
                self._save()
                return False
            if time.monotonic() - self.saved >= 60 * self.config.save_minutes:
                self._save()
        return True

    def _pieces(self, step: Sequence[Indices]) -> list[_Piece]:
        """The batches of a step that this rank takes."""
        clips = sum(map(len, step))
        mine = [_Piece(step[i], len(step[i]) / clips, i) for i in range(self.team.rank, len(step), self.team.count)]
        return mine or [_Piece(step[0][:1], 0.0, 0)]

    def _step(
        self, lesson: Any, batches: Sequence[tuple[_Piece, Batch]], of: int
    ) -> tuple[tuple[float, float], float, bool]:
        """One step of the optimizer: its cross entropy and RLSSR, the norm of its gradient, and whether to stop."""
        device, ranks = self.net.device, self.team.count
        statistics = BatchStatistics(self.net) if ranks > 1 else None
        parts = torch.zeros(2, device=device)
        self.optimizer.zero_grad(set_to_none=True)
        for i, (piece, batch) in enumerate(batches):
            batch = batch.to(device)
            torch.manual_seed(draw_seed(self.config.seed, self.at.epoch, self.at.step, piece.number))
            # Gradients go to the other ranks once a step, with the last batch.
            with lesson.no_sync() if ranks > 1 and i + 1 < len(batches) else nullcontext():
                with self._autocast():
                    words, rlssr = lesson(batch.frames, batch.lengths, batch.captions)
                loss = self.config.alpha * words + self.config.beta * rlssr
                self.scaler.scale(loss * (piece.share * ranks)).backward()  # ranks: gradients are averaged over them
            if piece.share:
                parts += piece.share * torch.stack((words.detach().float(), rlssr.detach().float()))
            if statistics:
                statistics.took(of - 1 - piece.number if piece.share else None)
        if statistics:
            statistics.end(self.team)
        words_sum, rlssr_sum, stops = self.team.sum(
            torch.tensor([*parts.tolist(), float(self.should_stop())], dtype=torch.float64)
        ).tolist()
        self._check(words_sum, rlssr_sum)
        return (words_sum, rlssr_sum), self._update(), stops > 0

    def _update(self) -> float:
        """Take the step; the norm of the gradient."""
        self.scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm))
        if not math.isfinite(norm) and not self.scaler.is_enabled():  # a scaler leaves such a step out, and scales less
            raise TrainingError(self._advice(f"the gradient is {norm}"))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return norm

    def _check(self, words: float, rlssr: float) -> None:
        loss, first = self.config.alpha * words + self.config.beta * rlssr, self.at.first_loss
        if not math.isfinite(loss):
            raise TrainingError(self._advice(f"the loss is {loss} (words {words}, rlssr {rlssr})"))
        if self.at.first_loss and loss > self.config.explosion * max(first, 1.0):
            raise TrainingError(self._advice(f"the loss explodes: {loss:.3g}, it was {first:.3g} in the first step"))

    def _advice(self, what: str) -> str:
        return (
            f"{what} in epoch {self.at.epoch + 1}, step {self.at.step + 1}; this step was not taken and the last good "
            "checkpoint is kept: go on from it with --resume and a smaller --lr, or --precision fp32"
        )

    def _learning_rate(self, examples: int) -> None:
        steps = steps_of_epoch(examples, self.config)
        factor = rate_factor(self.at.epoch * steps + self.at.step, steps * self.config.epochs, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.net.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _validated(self, began: float, seconds_per_step: float) -> Epoch:
        """Validate, and compare with the best epoch so far."""
        number, c = self.at.epoch + 1, self.config
        examples, plan = self._to_validate()
        words, rlssr = mean_losses(self.lesson, examples, plan, self.loader, self._autocast(), self.team)
        loss = c.alpha * words + c.beta * rlssr
        captions: list[str] = []
        if c.decode_epochs and (c.select == "cider" or number % c.decode_epochs == 0):
            captions = self.captions(self.team)
        epoch = Epoch(
            number, self.at.loss_sum / self.at.step, loss, words, False, time.monotonic() - began, seconds_per_step, {}
        )
        epoch = self.scored(epoch, captions) if captions else epoch
        return replace(epoch, best=self.best is None or self._merit(epoch) > self._merit(self.best))

    def _merit(self, epoch: Epoch) -> float:
        return epoch.scores["cider_d"] if self.config.select == "cider" else -epoch.validation_loss

    def _to_validate(self) -> tuple[Examples, list[Indices]]:
        examples = self.run.validation.epoch(self.at.epoch)
        return examples, in_order(len(examples), self.run.validation.lengths(), self.config.batch_size)

    def captions(self, team: Team) -> list[str]:
        """Captions of all validation clips by the network as it is."""
        examples, plan = self._to_validate()
        return captions_of(self.lesson, examples, plan, self.run.vocabulary, self.run.decoding, self.loader, team)

    def scored(self, epoch: Epoch, captions: Sequence[str]) -> Epoch:
        """The epoch with the scores of its captions, and some of them."""
        self.references = self.references or self.run.validation.references()
        shown = samples(captions, self.references)
        return replace(epoch, scores=scores_of(captions, self.references), examples=shown)


def rate_factor(step: int, steps: int, config: TrainingConfig) -> float:
    """The factor on the learning rate at a step: a straight rise, then constant or half a cosine down to zero."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - config.warmup_steps) / max(1, steps - config.warmup_steps)))


def _optimizer(parameters: list[torch.nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, config.learning_rate, weight_decay=config.weight_decay)
