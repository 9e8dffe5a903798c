"""``aac train`` and ``aac pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .. import console
from .options import Device, Quiet, Threads, override, pick_device
from .progress import init_path

if TYPE_CHECKING:
    import torch

    from ..data import Clip
    from ..model.features import FrontEndConfig
    from ..runs import Run
    from ..sounds import SoundBank
    from ..tagging import TaggingConfig
    from ..training import TrainingConfig

Phrases = Annotated[
    Path | None,
    typer.Option(
        help="Phrase book, TOML or JSON; else the one that comes with aac.", rich_help_panel="Labelled sounds"
    ),
]
KnownLabels = Annotated[
    bool,
    typer.Option(
        "--known-labels",
        help="Leave out recordings whose label the phrase book lacks, instead of speaking of it by its name.",
        rich_help_panel="Labelled sounds",
    ),
]
ValidationFold = Annotated[
    int,
    typer.Option(
        help="Fold that is never trained on. Recordings that name no fold are spread over folds 1 to 5.",
        rich_help_panel="Labelled sounds",
    ),
]


def _sound_banks(
    sounds: Path, phrases: Path | None, known_labels: bool, fold: int, sample_rate: int, quiet: bool
) -> tuple[SoundBank, SoundBank]:
    """Decode the labelled sounds to train on and to validate with."""
    from ..errors import DataError
    from ..phrases import load_phrases
    from ..sounds import SoundBank, read_sounds, relabel, split

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


def train(
    clotho: Annotated[Path | None, typer.Option(help="Folder of Clotho.", rich_help_panel="Data: one of")] = None,
    csv: Annotated[
        Path | None,
        typer.Option(help="Captions: file_name, caption_1, ... (or caption).", rich_help_panel="Data: one of"),
    ] = None,
    sounds: Annotated[
        Path | None,
        typer.Option(
            help="Labelled recordings: manifest.csv (file, label), or one folder a label.",
            rich_help_panel="Data: one of",
        ),
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Folder of the recordings that --csv names.", rich_help_panel="Data: more")
    ] = None,
    validation_csv: Annotated[
        Path | None,
        typer.Option(help="Captions to validate with; else a share is held out.", rich_help_panel="Data: more"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the run; models land in OUT/best and OUT/last.")] = Path(
        "runs/train"
    ),
    init: Annotated[
        str,
        typer.Option(
            help="Start of CNN10: none, cnn10 (of PANNs, fetched once), such a file, or a tagger's folder. "
            "--sounds trains a tagger first."
        ),
    ] = "none",
    rlssr: Annotated[
        Literal["l1", "l2", "cosine", "huber", "none"], typer.Option(help="Distance of the regularizer.")
    ] = "l1",
    alpha: Annotated[float | None, typer.Option(help="Weight of the cross entropy.")] = None,
    beta: Annotated[float | None, typer.Option(help="Weight of the regularizer.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Clips in one forward pass.")] = None,
    accumulate: Annotated[int | None, typer.Option(min=1, help="Batches to one step.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    patience: Annotated[int | None, typer.Option(min=1, help="Epochs without a better validation loss.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    freeze_cnn: Annotated[bool | None, typer.Option("--freeze-cnn/--train-cnn", help="Whether CNN10 learns.")] = None,
    captions_per_clip: Annotated[
        int | None, typer.Option(min=1, help="Captions of a clip in one batch; the others come in other batches.")
    ] = None,
    fmax: Annotated[
        float | None, typer.Option(help="Upper edge of the mel bands, Hz; else the tagger's, or 14000.")
    ] = None,
    store: Annotated[
        Literal["float32", "float16"], typer.Option(help="Type of the weights in OUT/best; float16 is half the size.")
    ] = "float32",
    seed: Annotated[int | None, typer.Option()] = None,
    phrases: Phrases = None,
    known_labels: KnownLabels = False,
    validation_fold: ValidationFold = 4,
    soundscapes: Annotated[
        int | None, typer.Option(min=1, help="Composed for an epoch.", rich_help_panel="Labelled sounds")
    ] = None,
    keep_epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs before fresh soundscapes are composed (frozen CNN10 only).",
            rich_help_panel="Labelled sounds",
        ),
    ] = None,
    tagger_epochs: Annotated[
        int, typer.Option(min=1, help="Of the tagger that is trained first.", rich_help_panel="Labelled sounds")
    ] = 30,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Train a captioner. The paper's values are the defaults; labelled sounds have their own.

    ```
    aac train --clotho ./data --init cnn10
    aac train --csv captions.csv --audio clips/
    aac train --sounds labelled/ --out runs/sounds
    ```

    Stops when the validation loss no longer falls. OUT/best is what `aac caption --model` takes.
    """
    with console.errors_to_exit_codes():
        from ..errors import ConfigError
        from ..model.captioner import ModelConfig
        from ..model.features import FrontEndConfig
        from ..model.rlssr import RlssrConfig
        from ..phrases import load_phrases
        from ..runs import SOUNDS_TRAINING, read_init, run_on_clips, run_on_sounds
        from ..soundscapes import SoundscapeConfig
        from ..tagging import TaggingConfig
        from ..training import TrainingConfig

        if sum(source is not None for source in (clotho, csv, sounds)) != 1:
            raise ConfigError("give one of --clotho DIR, --csv FILE (with --audio DIR), --sounds DIR")
        if (csv is None) != (audio is None):
            raise ConfigError("--csv and --audio go together: the captions, and the folder of the recordings")
        given = {
            "alpha": alpha,
            "beta": beta,
            "batch_size": batch_size,
            "accumulate": accumulate,
            "epochs": epochs,
            "patience": patience,
            "learning_rate": lr,
            "freeze_cnn": freeze_cnn,
            "captions_per_clip": captions_per_clip,
            "soundscapes": soundscapes,
            "keep_epochs": keep_epochs,
            "seed": seed,
        }
        config = override(SOUNDS_TRAINING if sounds else TrainingConfig(), given)
        where = pick_device(device, threads)
        start = read_init(init_path(init, quiet))
        front_end = override(start.front_end or FrontEndConfig(), {"fmax": fmax})
        model = ModelConfig(front_end=front_end, rlssr=RlssrConfig(distance=rlssr))
        if sounds:
            banks = _sound_banks(sounds, phrases, known_labels, validation_fold, front_end.sample_rate, quiet)
            if init == "none":
                tagging = TaggingConfig(epochs=tagger_epochs, seed=config.seed)
                start = read_init(_pretrain(banks, front_end, tagging, out / "tagger", where, quiet))
            book, like = load_phrases(phrases), SoundscapeConfig()
        else:
            clips = _clips(clotho, csv, audio, validation_csv, config)
        with console.StepProgress("training", None, quiet) as progress:

            def on_heard(done: int, total: int) -> None:
                progress.update(done, "", total, "listening")

            if sounds:
                run = run_on_sounds(*banks, book, model, config, like, start, where, on_heard)
            else:
                run = run_on_clips(*clips, model, config, start, where, on_heard)
            for line in run.start:
                console.say(line)
            _train(run, out, store, progress)


def _clips(
    clotho: Path | None, csv: Path | None, audio: Path | None, validation_csv: Path | None, config: TrainingConfig
) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on and to validate with."""
    from ..data import hold_out, read_captions, read_clotho

    if clotho:
        splits = read_clotho(clotho)
        clips, validation = splits["development"], splits.get("validation", [])
    else:
        assert csv and audio
        clips, validation = read_captions(csv, audio), read_captions(validation_csv, audio) if validation_csv else []
    if validation:
        return clips, validation
    return hold_out(clips, config.validation_share, config.seed)


def _train(run: Run, out: Path, store: Literal["float32", "float16"], progress: console.StepProgress) -> None:
    """Train and keep the best and the last model."""
    from ..training import Epoch, Step, train

    config = run.config
    console.say(
        f"{len(run.train.epoch(0))} examples, {len(run.vocabulary)} words, "
        f"batches of {config.batch_size} x {config.accumulate}, on {run.net.device}"
    )

    def on_step(step: Step) -> None:
        note = f"loss {step.loss:.3f} (words {step.cross_entropy:.3f}, rlssr {step.rlssr:.3f})"
        note += f" {step.clips_per_second:.1f} clips/s"
        progress.update((step.epoch - 1) * step.steps + step.step, note, config.epochs * step.steps, "training")

    def on_epoch(epoch: Epoch) -> None:
        run.save(out / "last", epoch)
        if epoch.best:
            run.save(out / "best", epoch, store)
        console.say(
            f"epoch {epoch.epoch}/{config.epochs}: loss {epoch.train_loss:.4f}, validation "
            f"{epoch.validation_loss:.4f} (words {epoch.validation_cross_entropy:.4f}){' best' * epoch.best}, "
            f"{epoch.seconds_per_step:.2f} s/step, {epoch.seconds:.0f} s"
        )

    result = train(run.net, run.train, run.validation, config, on_step, on_epoch)
    why = "no better validation loss for" if result.stopped_early else "after"
    console.say(f"stopped {why} {config.patience if result.stopped_early else result.epochs} epochs")
    console.say(f"best: epoch {result.best.epoch}, validation loss {result.best.validation_loss:.4f}, {out / 'best'}")


def pretrain(
    sounds: Annotated[
        Path, typer.Option(help="Labelled recordings: manifest.csv (file, label), or one folder a label.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the run; the tagger lands in OUT/tagger.")] = Path(
        "runs/pretrain"
    ),
    phrases: Phrases = None,
    known_labels: KnownLabels = False,
    validation_fold: ValidationFold = 4,
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
        from ..model.features import FrontEndConfig
        from ..tagging import TaggingConfig

        front_end = FrontEndConfig(fmax=fmax)
        config = TaggingConfig(epochs=epochs, batch_size=batch_size, learning_rate=lr, seed=seed)
        where = pick_device(device, threads)
        banks = _sound_banks(sounds, phrases, known_labels, validation_fold, front_end.sample_rate, quiet)
        _pretrain(banks, front_end, config, out / "tagger", where, quiet)


def _pretrain(
    banks: tuple[SoundBank, SoundBank],
    front_end: FrontEndConfig,
    config: TaggingConfig,
    out: Path,
    device: torch.device,
    quiet: bool,
) -> Path:
    """Train a tagger and keep the best; returns its folder."""
    from ..checkpoints import TaggerInfo, save_tagger
    from ..config import to_dict
    from ..model.cnn10 import Tagger
    from ..tagging import TAGGING_CNN10, TaggingScore, TaggingStep, train_tagger

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
