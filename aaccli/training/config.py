"""What a training run is told, and what it tells: settings, steps, epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..precision import Precision


@dataclass(frozen=True)
class TrainingConfig:
    """How a captioner is trained. Where the paper gives a value, it is the default."""

    batch_size: int = 64  # clips in one forward pass, the paper's
    accumulate: int = 4  # batches to one step of the optimizer, the paper's
    epochs: int = 200  # at most, the paper's
    patience: int = 10  # epochs without a better one before stopping; open in the paper
    select: Literal["loss", "cider"] = "loss"  # what makes an epoch better, on the validation clips; open in the paper
    learning_rate: float = 3e-4  # the paper's
    alpha: float = 1.0  # weight of the cross entropy; the paper: alpha = beta
    beta: float = 1.0  # weight of RLSSR
    optimizer: Literal["adam", "adamw"] = "adam"  # open in the paper: its baselines' Adam
    weight_decay: float = 0.0  # open in the paper
    warmup_steps: int = 0  # steps in which the learning rate rises; open in the paper
    schedule: Literal["constant", "cosine"] = "constant"  # open in the paper
    clip_norm: float = 1.0  # gradients are scaled down to this norm: guards the first steps
    explosion: float = 10.0  # a loss this many times the first step's ends the run
    freeze_cnn: bool = False  # open in the paper: all of the network learns
    captions_per_clip: int = 1  # in one batch; the others come in other batches of the same epoch
    max_seconds: float = 30.0  # of a recording: Clotho's longest
    min_count: int = 1  # words that occur less often become unknown; open in the paper
    validation_share: float = 0.1  # held out where the data set has no validation split (Clotho 1)
    decode_epochs: int = 5  # epochs from one captioning of the validation clips to the next; 0: never
    soundscapes: int = 4000  # composed for one epoch (labelled sounds only)
    keep_epochs: int = 1  # epochs before fresh soundscapes are composed, with a frozen CNN10 only
    precision: Precision = "auto"  # of the forward pass: bfloat16 or float16 where the device is made for it
    save_minutes: float = 10.0  # from one checkpoint to the next within an epoch
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            "batch_size",
            "accumulate",
            "epochs",
            "patience",
            "captions_per_clip",
            "soundscapes",
            "keep_epochs",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1")
        for name in ("learning_rate", "alpha", "beta", "weight_decay", "warmup_steps", "decode_epochs", "save_minutes"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is at least 0")
        if not self.explosion > 1 or not self.clip_norm > 0 or not self.max_seconds > 0:
            raise ValueError("explosion is more than 1, clip_norm and max_seconds are more than 0")
        if self.select == "cider" and self.decode_epochs == 0:
            raise ValueError("select = cider needs captions of the validation clips: decode_epochs is at least 1")

    @property
    def step_size(self) -> int:
        """Clips in one step of the optimizer."""
        return self.batch_size * self.accumulate


@dataclass(frozen=True)
class Step:
    """One step of the optimizer, as told to whoever watches."""

    epoch: int  # from 1
    step: int  # in this epoch, from 1
    steps: int  # in an epoch
    loss: float
    cross_entropy: float
    rlssr: float
    learning_rate: float
    gradient_norm: float  # before it is clipped
    clips_per_second: float


@dataclass(frozen=True)
class Sample:
    """What the network said of a validation clip, and what people said."""

    caption: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Epoch:
    """One epoch's result."""

    epoch: int  # from 1
    train_loss: float
    validation_loss: float  # alpha * cross entropy + beta * RLSSR
    validation_cross_entropy: float  # nats a word
    best: bool
    seconds: float  # since the epoch began, or since the run was taken up again in it
    seconds_per_step: float
    scores: dict[str, float]  # of captions of the validation clips; empty where none were made
    examples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    best: Epoch | None  # None: interrupted in the first epoch
    epochs: int  # finished
    stopped_early: bool = False
    interrupted: bool = False
