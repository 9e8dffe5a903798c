"""``aac train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .. import console
from ..devices import pick_device
from .options import Device, Quiet, Threads
from .pretraining import KnownLabels, Phrases, ValidationFold
from .progress import init_path

if TYPE_CHECKING:
    from ..training.runs import Init
    from ..training.settings import Layer

ONE_OF, MORE, RUN, LEARNING, SOUNDS = "Data: one of", "Data: more", "The run", "Learning", "Labelled sounds"


def train(
    clotho: Annotated[Path | None, typer.Option(help="Folder of Clotho.", rich_help_panel=ONE_OF)] = None,
    csv: Annotated[
        Path | None,
        typer.Option(help="Captions: file_name, caption_1, ... (or caption).", rich_help_panel=ONE_OF),
    ] = None,
    sounds: Annotated[
        Path | None,
        typer.Option(
            help="Labelled recordings: manifest.csv (file, label), or one folder a label.", rich_help_panel=ONE_OF
        ),
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Folder of the recordings that --csv names.", rich_help_panel=MORE)
    ] = None,
    validation_csv: Annotated[
        Path | None,
        typer.Option(help="Captions to validate with; else a share is held out.", rich_help_panel=MORE),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder to keep features in: recordings are decoded once.", rich_help_panel=MORE),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Threads that decode; 0: half of the processors.", rich_help_panel=MORE),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Row of the paper's tables: base, base+l1, base+l2, base+pann, base+pann+l1 (the default), "
            "base+pann+l2, base-encoder, base-encoder+pann.",
            rich_help_panel=RUN,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings in TOML, as --show-config writes them.", rich_help_panel=RUN)
    ] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print all settings and train nothing.", rich_help_panel=RUN)
    ] = False,
    out: Annotated[
        Path, typer.Option(help="Folder for the run; models land in OUT/best and OUT/last.", rich_help_panel=RUN)
    ] = Path("runs/train"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in OUT, if there is one.", rich_help_panel=RUN)
    ] = False,
    init: Annotated[
        str | None,
        typer.Option(
            help="Start: none, cnn10 (of PANNs, fetched once), such a file, a tagger's or a captioner's folder, or "
            "OWNER/NAME on the Hub. --sounds trains a tagger first.",
            rich_help_panel=RUN,
        ),
    ] = None,
    rlssr: Annotated[
        Literal["l1", "l2", "cosine", "huber", "none"] | None,
        typer.Option(help="Distance of the regularizer.", rich_help_panel=LEARNING),
    ] = None,
    encoder: Annotated[
        bool | None,
        typer.Option(
            "--encoder/--no-encoder", help="Whether there is a transformer encoder.", rich_help_panel=LEARNING
        ),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of the cross entropy.", rich_help_panel=LEARNING)] = None,
    beta: Annotated[float | None, typer.Option(help="Weight of the regularizer.", rich_help_panel=LEARNING)] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Clips in one forward pass.", rich_help_panel=LEARNING)
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(min=1, help="Batches to one step.", rich_help_panel=LEARNING)
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most.", rich_help_panel=LEARNING)] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Epochs without a better one before stopping.", rich_help_panel=LEARNING)
    ] = None,
    select: Annotated[
        Literal["loss", "cider"] | None,
        typer.Option(help="What makes an epoch better, on the validation clips.", rich_help_panel=LEARNING),
    ] = None,
    decode_epochs: Annotated[
        int | None,
        typer.Option(
            min=0, help="Epochs from one captioning of the validation clips to the next.", rich_help_panel=LEARNING
        ),
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", rich_help_panel=LEARNING)] = None,
    schedule: Annotated[
        Literal["constant", "cosine"] | None, typer.Option(help="Of the learning rate.", rich_help_panel=LEARNING)
    ] = None,
    warmup_steps: Annotated[
        int | None, typer.Option(min=0, help="In which the learning rate rises.", rich_help_panel=LEARNING)
    ] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Longest gradient.", rich_help_panel=LEARNING)] = None,
    freeze_cnn: Annotated[
        bool | None,
        typer.Option("--freeze-cnn/--train-cnn", help="Whether CNN10 learns.", rich_help_panel=LEARNING),
    ] = None,
    captions_per_clip: Annotated[
        int | None,
        typer.Option(
            min=1, help="Captions of a clip in one batch; the others come in other batches.", rich_help_panel=LEARNING
        ),
    ] = None,
    fmax: Annotated[
        float | None,
        typer.Option(help="Upper edge of the mel bands, Hz; else the tagger's, or 14000.", rich_help_panel=LEARNING),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, rich_help_panel=LEARNING)] = None,
    phrases: Phrases = None,
    known_labels: KnownLabels = None,
    validation_fold: ValidationFold = None,
    soundscapes: Annotated[
        int | None, typer.Option(min=1, help="Composed for an epoch.", rich_help_panel=SOUNDS)
    ] = None,
    keep_epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Epochs before fresh soundscapes are composed (frozen CNN10 only).", rich_help_panel=SOUNDS
        ),
    ] = None,
    tagger_epochs: Annotated[
        int | None, typer.Option(min=1, help="Of the tagger that is trained first.", rich_help_panel=SOUNDS)
    ] = None,
    save_minutes: Annotated[
        float | None,
        typer.Option(min=0, help="From one checkpoint to the next within an epoch.", rich_help_panel=RUN),
    ] = None,
    store: Annotated[
        Literal["float32", "float16"] | None,
        typer.Option(help="Type of the weights in OUT/best; float16 is half the size.", rich_help_panel=RUN),
    ] = None,
    tensorboard: Annotated[
        bool | None, typer.Option("--tensorboard", help="Write for TensorBoard too.", rich_help_panel=RUN)
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None,
        typer.Option(
            help="Of the forward pass; auto: half of the bits if the device is made for it.", rich_help_panel="Machine"
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Train a captioner. The paper's best row is the default; labelled sounds have settings of their own.

    ```
    aac train --clotho ./data
    aac train --clotho ./data --recipe base-encoder --show-config
    aac train --csv captions.csv --audio clips/ --init runs/train/best
    aac train --sounds labelled/ --out runs/sounds
    aac train --out runs/train --resume
    torchrun --nproc-per-node 8 -m aaccli train --clotho ./data
    ```

    Stops when the validation clips are captioned no better. OUT/best is what `aac caption --model` takes. Ctrl-C, or
    SIGTERM, finishes the step and saves; `--resume` goes on from there.
    """
    with console.errors_to_exit_codes():
        from ..training.settings import as_toml, check_data, gather, merge, read_layer
        from .session import Session, check_free, former_settings

        encoder_layers = None if encoder is None else 2 * encoder
        given = _without_none(
            {
                "recipe": recipe,
                "init": _from_anywhere(init),
                "store": store,
                "tagger_epochs": tagger_epochs,
                "tensorboard": tensorboard,
                "data": {
                    **{
                        name: None if path is None else str(path.absolute())
                        for name, path in {
                            "clotho": clotho,
                            "csv": csv,
                            "audio": audio,
                            "validation_csv": validation_csv,
                            "sounds": sounds,
                            "phrases": phrases,
                            "cache": cache,
                        }.items()
                    },
                    "known_labels": known_labels,
                    "validation_fold": validation_fold,
                    "workers": workers,
                },
                "model": {
                    "front_end": {"fmax": fmax},
                    "rlssr": {"distance": rlssr},
                    "transformer": {"encoder_layers": encoder_layers},
                },
                "training": {
                    "alpha": alpha,
                    "beta": beta,
                    "batch_size": batch_size,
                    "accumulate": accumulate,
                    "epochs": epochs,
                    "patience": patience,
                    "select": select,
                    "decode_epochs": decode_epochs,
                    "learning_rate": lr,
                    "schedule": schedule,
                    "warmup_steps": warmup_steps,
                    "clip_norm": clip_norm,
                    "freeze_cnn": freeze_cnn,
                    "captions_per_clip": captions_per_clip,
                    "soundscapes": soundscapes,
                    "keep_epochs": keep_epochs,
                    "save_minutes": save_minutes,
                    "precision": precision,
                    "seed": seed,
                },
            }
        )
        layer = read_layer(config) if config else {}

        def read(start: str) -> Init:
            return _read_init(start, quiet, fetch=not show_config)

        asked = merge(layer, given)
        if resume and (former := former_settings(out, asked)):
            settings, start = former, None  # what it started from is in its state
        else:
            if not show_config:
                check_data(asked)
                if not resume:
                    check_free(out)
            settings, start = gather(layer, given, read)
        if show_config:
            typer.echo(as_toml(settings), nl=False)
            return
        Session(settings, out, quiet).run(start, read, resume, pick_device(device, threads))


def _without_none(layer: Layer) -> Layer:
    """What was given."""
    some: dict[str, Any] = {k: _without_none(v) if isinstance(v, dict) else v for k, v in layer.items()}
    return {k: v for k, v in some.items() if v is not None and v != {}}


def _from_anywhere(init: str | None) -> str | None:
    """A path as it is from any folder, where the run may be taken up again; names as they are."""
    is_path = init is not None and init not in ("none", "cnn10", "tagger") and Path(init).exists()
    return str(Path(init).absolute()) if init and is_path else init


def _read_init(init: str, quiet: bool, fetch: bool) -> Init:
    """What a run starts from; without ``fetch``, only what is on this machine."""
    from ..training.runs import Init, read_init
    from ..training.settings import init_name

    if init in ("none", "tagger") or (not fetch and not Path(init).exists()):
        return Init()
    return read_init(init_path(init, quiet), "PANNs" if init == "cnn10" else init_name(init))
