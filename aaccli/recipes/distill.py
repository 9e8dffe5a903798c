"""Train CNN10 on labelled recordings and on what a teacher hears in them.

    python -m aaccli.recipes.distill --sounds ../shared/sounds --out runs/ear --fold 4

CNN10 learns two things at once from crops and mixtures of them: which labels are in it, and the teacher's embedding
of every 0.96 s (transfer learning, as PANNs' weights are in the paper). The teacher hears two sounds one at a time and
clean, and CNN10 is to hear in their mixture the larger of either's numbers; it hears the mixture made fainter,
filtered, noisy or cut above a frequency, so that it learns to name it all the same. The same command goes on where a
run was stopped: every draw depends on the seed and the step alone.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoints import TaggerInfo, save_tagger
from ..config import to_dict
from ..data.augment import degrade
from ..data.phrases import load_phrases
from ..data.sounds import SILENCE, Recording, SoundBank, read_sounds, relabel, split
from ..errors import TrainingError
from ..model.cnn10 import WIDTH, Tagger, mean_max
from ..model.features import LogMel, resample
from ..model.winograd import use_winograd
from ..training.runs import read_init
from ..training.tagging import TAGGING_CNN10, AveragedWeights, TaggingConfig, score_tagger
from . import teacher
from .lessons import FRONT_END, DistillConfig, Lessons, held_out_mixtures

TOKEN_FRAMES = 16  # log-mel frames to one step of CNN10's sequence
DROWNED = 10**-2.5  # a sound of less than this share of the other's power in a patch is not heard there


class Pupil(nn.Module):
    """A tagger that also predicts the teacher's embeddings."""

    def __init__(self, labels: int, config: DistillConfig) -> None:
        super().__init__()
        self.tagger: Tagger = Tagger(TAGGING_CNN10, labels, FRONT_END.mels, config.head_dropout)
        self.embed = nn.Linear(WIDTH, teacher.WIDTH)

    def forward(self, logmel: Tensor, patches: int) -> tuple[Tensor, Tensor]:
        """(B, frames, mels) to logits (B, labels) and standardised embeddings (B, patches, 1024)."""
        sequence, _ = self.tagger.cnn10(logmel)
        weights = overlap(sequence.shape[1], patches).to(sequence)
        return self.tagger.head(mean_max(sequence, None)), self.embed(weights @ sequence)


def overlap(tokens: int, patches: int) -> Tensor:
    """Share of each step of CNN10's sequence in each patch of the teacher's: (patches, tokens), rows sum to one."""
    token = TOKEN_FRAMES * FRONT_END.hop / FRONT_END.sample_rate
    hop, length = (n * teacher.HOP / teacher.RATE for n in (teacher.PATCH_HOP, teacher.PATCH))
    starts, begins = torch.arange(tokens) * token, torch.arange(patches)[:, None] * hop
    shared = (torch.minimum(starts + token, begins + length) - torch.maximum(starts, begins)).clamp_min(0)
    return shared / shared.sum(1, keepdim=True)


def learning_rate(step: int, config: DistillConfig) -> float:
    """Linear up, constant, linear down to zero; constant from the start for as long as CNN10 does not learn."""
    if step < config.head_steps:
        return config.learning_rate
    rise = (step + 1 - config.head_steps) / config.warmup_steps
    fall = config.cooldown * config.steps
    return config.learning_rate * min(1.0, rise, (config.steps - step) / max(1.0, fall))


@dataclass(frozen=True)
class Lesson:
    """What one step learns from."""

    logmel: Tensor  # (B, frames, mels), degraded
    goal: Tensor  # (B, patches, 1024), the teacher's standardised embeddings of the clean sound
    targets: Tensor  # (B, labels), zeros where no label is known


class Lab:
    """A run that can be stopped and taken up again."""

    def __init__(
        self, out: Path, bank: SoundBank, held_out: list[tuple[Recording, Tensor]], config: DistillConfig
    ) -> None:
        self.out, self.held_out, self.config = out, held_out, config
        book = load_phrases()
        self.labels = sorted({label for label in bank.by_label if book.knows(label)} | {SILENCE})
        self.lessons = Lessons(bank, self.labels, config)
        self.teacher = teacher.Teacher()
        self.logmel = LogMel(FRONT_END)
        torch.manual_seed(config.seed)
        self.pupil = Pupil(len(self.labels), config)
        self.pupil.to(memory_format=torch.channels_last)
        self.average = AveragedWeights(self.pupil, config.ema)
        self.optimizer = torch.optim.Adam(self.pupil.parameters(), config.learning_rate)
        self.step = 0
        # What comes before the network keeps one core busy, which the network then need not wait for.
        self.pool = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
        self.ahead: Future[Lesson] | None = None
        self.scale: tuple[Tensor, Tensor] | None = None  # of the teacher's embeddings: mean, deviation

    def start_from(self, folder: Path) -> None:
        """Take CNN10 from a tagger or a captioner."""
        init = read_init(folder)
        if init.heard != FRONT_END:
            raise TrainingError(f"{folder}: was trained on another front end than {FRONT_END}")
        state = init.captioner[0].cnn10.state_dict() if init.captioner else init.cnn10
        self.pupil.tagger.cnn10.load_state_dict(state or {})
        self.average = AveragedWeights(self.pupil, self.config.ema)

    def measure_teacher(self, batches: int = 40) -> None:
        """Mean and deviation of each of the teacher's 1024 numbers over the first lessons."""
        heard = torch.cat([self._teach(self.lessons.batch(step)[0]).flatten(0, 1) for step in range(batches)])
        self.scale = (heard.mean(0), heard.std(0).clamp_min(0.05))

    def _teach(self, sounds: Tensor) -> Tensor:
        """What the teacher hears in either sound, as if it heard both of a mixture apart: (B, patches, 1024).

        Of the mixture itself it makes little (its numbers vary a fifth as much), so that it would teach not to hear.
        """
        apart = resample(sounds.flatten(0, 1), FRONT_END.sample_rate, teacher.RATE).view(*sounds.shape[:2], -1)
        two = sounds[:, 1].any(1)
        heard = self.teacher(torch.cat((apart[:, 0], apart[two, 1])) * 0.5)
        first, second = heard[: len(sounds)], heard[len(sounds) :]
        power = teacher.patch_power(apart[two])[:, :, : heard.shape[1], None]
        drowned = power < power.amax(1, keepdim=True) * DROWNED  # silence, above all
        both = torch.stack((first[two], second), 1).masked_fill(drowned, -torch.inf)
        goal = first.clone()
        goal[two] = both.amax(1)
        return goal

    @torch.no_grad()
    def prepare(self, step: int) -> Lesson:
        """What a step learns from."""
        assert self.scale is not None
        sounds, targets = self.lessons.batch(step)
        goal = ((self._teach(sounds) - self.scale[0]) / self.scale[1]).clamp(-5, 5)
        random = np.random.default_rng([self.config.seed, step, 1])
        logmel = torch.stack([degrade(frames, random, self.config.degrade) for frames in self.logmel(sounds.sum(1))])
        return Lesson(logmel, goal, targets)

    def learn(self) -> dict[str, float]:
        """One step, while the next one is prepared."""
        c = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, c)
        lesson = (self.ahead or self.pool.submit(self.prepare, self.step)).result()
        self.ahead = self.pool.submit(self.prepare, self.step + 1)
        torch.manual_seed(c.seed * 1_000_003 + self.step)  # dropout, masks
        self.pupil.train()
        self._hold()
        logits, embeddings = self.pupil(lesson.logmel, lesson.goal.shape[1])
        known = lesson.targets.sum(1) > 0
        labelling = F.cross_entropy(logits[known], lesson.targets[known])
        teaching = F.mse_loss(embeddings, lesson.goal)
        loss = labelling + c.teacher_weight * teaching
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {loss.item()} at step {self.step}; try a smaller --lr")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.average.update(self.pupil)
        self.step += 1
        return {"labels": labelling.item(), "teacher": teaching.item()}

    def _hold(self) -> None:
        """Keep from learning what stays as it is: all of CNN10 first of all, its first blocks always."""
        cnn10, fixed = self.pupil.tagger.cnn10, self.config.fixed_blocks
        held: list[nn.Module] = [cnn10.bn0, *cnn10.blocks[:fixed]] if fixed else []
        if self.step < self.config.head_steps:
            held = [cnn10]
        cnn10.requires_grad_(True)
        for module in held:
            module.eval().requires_grad_(False)

    def score(self) -> dict[str, float]:
        """Tag the held-out recordings with the averaged weights; the averaged tagger is saved beside."""
        pupil = Pupil(len(self.labels), self.config)
        pupil.load_state_dict(self.average.state)
        tagger = pupil.eval().tagger
        config = TaggingConfig(validation_seconds=10.0)
        score = score_tagger(tagger, self.logmel, self.held_out, self.labels, config, self.step)
        among = self._score_mixtures(tagger)
        trained = {"config": to_dict(self.config), "step": self.step, "score": to_dict(score)}
        save_tagger(self.out / "tagger", tagger, TaggerInfo(FRONT_END, TAGGING_CNN10, tuple(self.labels), trained))
        return {"loss": score.loss, "top1": score.top1, "top3": score.top3, **among}

    @torch.no_grad()
    def _score_mixtures(self, tagger: Tagger) -> dict[str, float]:
        """Share of held-out sounds at the same time of which both are among the first two, or four."""
        told = []
        for mixture, *labels in held_out_mixtures(self.held_out, FRONT_END.sample_rate):
            best = tagger(self.logmel(mixture[None]))[0].topk(min(4, len(self.labels))).indices.tolist()
            told.append([{self.labels.index(label) for label in labels} <= set(best[:n]) for n in (2, 4)])
        return dict(zip(("both2", "both4"), np.mean(told, axis=0).tolist(), strict=True)) if told else {}

    def save(self) -> None:
        """Everything that a later run needs, in one file that is whole or not there."""
        state = {
            "config": to_dict(self.config),
            "labels": self.labels,
            "step": self.step,
            "scale": self.scale,
            "pupil": self.pupil.state_dict(),
            "average": self.average.state,
            "updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
        }
        self.out.mkdir(parents=True, exist_ok=True)
        partial = self.out / "state.pt.partial"
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.out / "state.pt")

    def resume(self) -> bool:
        """Go on from what an earlier run left, if it did."""
        file = self.out / "state.pt"
        if not file.is_file():
            return False
        state: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
        if state["labels"] != self.labels:
            raise TrainingError(
                f"{file}: was trained on other labels; give another --out, and --init {self.out}/tagger"
            )
        self.pupil.load_state_dict(state["pupil"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.state, self.average.updates = state["average"], state["updates"]
        self.step, self.scale, self.ahead = state["step"], state["scale"], None
        return True


def run(lab: Lab) -> None:
    """Train to the last step, with a line of ``log.jsonl`` every hundred steps and every validation."""
    log = (lab.out / "log.jsonl").open("a", encoding="utf-8")
    saved = began = time.monotonic()
    sums: dict[str, float] = {}
    first = lab.step
    while lab.step < lab.config.steps:
        for name, value in lab.learn().items():
            sums[name] = sums.get(name, 0.0) + value / 100
        if lab.step % 100 == 0:
            rate = (lab.step - first) * lab.config.batch_size / (time.monotonic() - began)
            _write(log, {"step": lab.step, **sums, "crops_per_second": rate})
            sums = {}
        last = lab.step == lab.config.steps
        if last or time.monotonic() - saved > 60 * lab.config.save_minutes:
            lab.save()
            saved = time.monotonic()
        if last or lab.step % lab.config.validate_steps == 0:
            _write(log, {"step": lab.step, **lab.score()})


def _write(log: Any, entry: dict[str, float]) -> None:
    line = json.dumps({k: round(v, 4) for k, v in entry.items()})
    log.write(line + "\n")
    log.flush()
    typer.echo(line)


def main(
    sounds: Annotated[Path, typer.Option(help="Folder of labelled recordings.")],
    out: Annotated[Path, typer.Option(help="Where the run lives; one that is there goes on.")],
    fold: Annotated[int, typer.Option(help="Fold that is held out; 0 trains on all, and measures nothing.")] = 4,
    init: Annotated[Path | None, typer.Option(help="Tagger or captioner whose CNN10 to start from.")] = None,
    head_steps: Annotated[int, typer.Option(help="First steps in which that CNN10 stays as it is.")] = 0,
    fixed_blocks: Annotated[int, typer.Option(help="First blocks of it that stay so.")] = 0,
    steps: int = DistillConfig.steps,
    learning_rate: float = DistillConfig.learning_rate,
    cooldown: float = DistillConfig.cooldown,
    mixup: Annotated[float, typer.Option(help="Share of crops that are two sounds.")] = DistillConfig.mixup,
    validate_steps: int = DistillConfig.validate_steps,
    seed: int = 0,
    threads: int = 2,
) -> None:
    """Teach CNN10, resuming what is there."""
    torch.set_num_threads(threads)
    book = load_phrases()
    train, held = split(relabel(read_sounds(sounds), book), fold)
    bank = SoundBank(train, FRONT_END.sample_rate)
    bank.load()
    held_out = SoundBank([r for r in held if r.label in bank.by_label and book.knows(r.label)], FRONT_END.sample_rate)
    held_out.load()
    out.mkdir(parents=True, exist_ok=True)
    config = DistillConfig(
        steps=steps,
        head_steps=head_steps,
        fixed_blocks=fixed_blocks,
        learning_rate=learning_rate,
        cooldown=cooldown,
        mixup=mixup,
        validate_steps=validate_steps,
        seed=seed,
    )
    lab = Lab(out, bank, [(r, held_out.waveform(r)) for r in held_out.recordings], config)
    if not lab.resume():
        if init:
            lab.start_from(init)
        lab.measure_teacher()
    use_winograd(lab.pupil)
    typer.echo(f"{len(bank)} recordings, {len(lab.labels)} labels, {len(lab.held_out)} held out, from step {lab.step}")
    run(lab)


if __name__ == "__main__":
    typer.run(main)
