"""``aac pretrain``, and labelled sounds as other verbs take them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import console
from ..devices import pick_device
from .options import Device, Quiet, Threads

if TYPE_CHECKING:
    import torch

    from ..data.sounds import SoundBank
    from ..model.features import FrontEndConfig
    from ..training.tagging import TaggingConfig

Phrases = Annotated[
    Path | None,
    typer.Option(
        help="Phrase book, TOML or JSON; else the one that comes with aac.", rich_help_panel="Labelled sounds"
    ),
]
KnownLabels = Annotated[
    bool | None,
    typer.Option(
        "--known-labels",
        help="Leave out recordings whose label the phrase book lacks, instead of speaking of it by its name.",
        rich_help_panel="Labelled sounds",
    ),
]
ValidationFold = Annotated[
    int | None,
    typer.Option(
        help="Fold that is never trained on. Recordings that name no fold are spread over folds 1 to 5.",
        rich_help_panel="Labelled sounds",
    ),
]


def sound_banks(
    sounds: Path, phrases: Path | None, known_labels: bool, fold: int, sample_rate: int, quiet: bool
) -> tuple[SoundBank, SoundBank]:
    """Decode the labelled sounds to train on and to validate with."""
    from ..data.phrases import load_phrases
    from ..data.sounds import SoundBank, read_sounds, relabel, split
    from ..errors import DataError

    recordings = relabel(read_sounds(sounds), load_phrases(phrases), known_labels)
    if not recordings:
        raise DataError(f"{sounds}: the phrase book knows none of the labels; try without --known-labels")
    banks = [SoundBank(part, sample_rate) for part in split(recordings, fold)]
    done = 0
    with console.StepProgress("decoding", len(recordings), quiet) as progress:

        def count() -> None:
            nonlocal done
            done += 1
            progress.update(done)

        errors = [error for bank in banks for error in bank.load(count)]
    for error in errors:
        console.warn(f"left out: {error}")
    return banks[0], banks[1]


def pretrain(
    sounds: Annotated[
        Path, typer.Option(help="Labelled recordings: manifest.csv (file, label), or one folder a label.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the run; the tagger lands in OUT/tagger.")] = Path(
        "runs/pretrain"
    ),
    phrases: Phrases = None,
    known_labels: KnownLabels = None,
    validation_fold: ValidationFold = None,
    fmax: Annotated[float, typer.Option(help="Upper edge of the mel bands, Hz.")] = 14000.0,
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    batch_size: Annotated[int, typer.Option(min=2)] = 16,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option()] = 0,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Train CNN10 as a tagger on labelled sounds, to start `aac train` from.

    ```
    aac pretrain --sounds labelled/ --out runs/birds
    aac train --sounds labelled/ --init runs/birds/tagger
    ```

    The stand-in for PANNs' training on AudioSet where its weights cannot be had.
    """
    with console.errors_to_exit_codes():
        from ..files.locks import training_in
        from ..files.wholefile import advised
        from ..model.features import FrontEndConfig
        from ..training.settings import DataConfig
        from ..training.tagging import TaggingConfig

        front_end = FrontEndConfig(fmax=fmax)
        config = TaggingConfig(epochs=epochs, batch_size=batch_size, learning_rate=lr, seed=seed)
        where = pick_device(device, threads)
        fold = DataConfig.validation_fold if validation_fold is None else validation_fold
        with advised("type the same command again"), training_in(out):
            banks = sound_banks(sounds, phrases, bool(known_labels), fold, front_end.sample_rate, quiet)
            train_a_tagger(banks, front_end, config, out / "tagger", where, quiet)


def train_a_tagger(
    banks: tuple[SoundBank, SoundBank],
    front_end: FrontEndConfig,
    config: TaggingConfig,
    out: Path,
    device: torch.device,
    quiet: bool,
) -> Path:
    """Train a tagger and keep the best; returns its folder, which no other process may be writing."""
    from ..checkpoints import TaggerInfo, mend, save_tagger
    from ..config import to_dict
    from ..model.cnn10 import Tagger
    from ..training.tagging import TAGGING_CNN10, TaggingScore, TaggingStep, train_tagger

    mend(out)
    train, held_out = banks
    labels, cnn10 = train.labels, TAGGING_CNN10
    validation = [(r, held_out.waveform(r)) for r in held_out.recordings if r.label in labels]
    console.say(f"{len(labels)} labels, {len(train)} recordings to train on, {len(validation)} held out")
    best = -1.0

    def keep(tagger: Tagger, score: TaggingScore | None) -> None:
        trained = {"config": to_dict(config), "recordings": len(train), "score": to_dict(score) if score else None}
        save_tagger(out, tagger, TaggerInfo(front_end, cnn10, tuple(labels), trained))

    with console.StepProgress("tagger", None, quiet) as progress:

        def on_step(step: TaggingStep) -> None:
            note = f"epoch {step.epoch}/{config.epochs} loss {step.loss:.3f} {step.crops_per_second:.1f} crops/s"
            progress.update(step.step, note, step.steps)

        def on_score(score: TaggingScore, tagger: Tagger) -> None:
            nonlocal best
            console.say(
                f"epoch {score.epoch}: held out loss {score.loss:.3f}, "
                f"label first {score.top1:.1%}, among three {score.top3:.1%}"
            )
            if score.top1 > best:
                best = score.top1
                keep(tagger, score)

        tagger = train_tagger(train, validation, labels, front_end, cnn10, config, device, on_step, on_score)
    if not validation:
        keep(tagger, None)
    console.say(f"tagger: {out}")
    return out
