"""All settings of a training run, where they come from, and the rows of the paper's tables.

They are laid over each other: the defaults, the recipe, a file, the command line. A later one counts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..checkpoints import Store
from ..config import from_dict, to_dict, to_toml
from ..errors import ConfigError
from ..model.beam import DecodingConfig
from ..model.captioner import ModelConfig
from ..model.rlssr import Distance
from .config import TrainingConfig
from .runs import SOUNDS_DECODING, SOUNDS_TRAINING, Init

Layer = dict[str, Any]  # some of the fields of Settings, nested as they are


@dataclass(frozen=True)
class DataConfig:
    """Where recordings and captions are: one of ``clotho``, ``csv``, ``sounds``. Empty: not given."""

    clotho: str = ""  # folder of Clotho
    csv: str = ""  # captions
    audio: str = ""  # folder of the recordings that csv names
    validation_csv: str = ""  # captions to validate with
    sounds: str = ""  # folder of labelled recordings
    phrases: str = ""  # phrase book
    known_labels: bool = False  # leave out labels that the phrase book lacks
    validation_fold: int = 4  # of labelled recordings, never trained on
    cache: str = ""  # folder for features
    workers: int = 0  # threads that decode; 0: half of the processors


@dataclass(frozen=True)
class Settings:
    """A training run."""

    recipe: str = ""  # the row of the paper's tables it began from
    init: str = "none"  # none, cnn10, tagger (one is trained first: labelled sounds only), a path, OWNER/NAME
    store: Store = "float32"  # type of the weights in OUT/best
    tagger_epochs: int = 30  # of the tagger that is trained first
    tensorboard: bool = False
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


def _row(init: str, distance: Distance, encoder_layers: int = 2) -> Layer:
    return {
        "init": init,
        "model": {"rlssr": {"distance": distance}, "transformer": {"encoder_layers": encoder_layers}},
    }


# Tables 1 and 2 of Koh, Xue and Chng (2021). "pann" is CNN10 with the weights of PANNs.
RECIPES: dict[str, Layer] = {
    "base": _row("none", "none"),
    "base+l1": _row("none", "l1"),
    "base+l2": _row("none", "l2"),
    "base+pann": _row("cnn10", "none"),
    "base+pann+l1": _row("cnn10", "l1"),
    "base+pann+l2": _row("cnn10", "l2"),
    "base-encoder": _row("none", "none", 0),
    "base-encoder+pann": _row("cnn10", "none", 0),
}
BEST = "base+pann+l1"
CONTROL = re.compile(r"[\0-\x1f\x7f]")  # what no comment of TOML may hold
# What may change when a run is taken up again: where and how long it runs, and what mends a loss that explodes.
FREE = {
    "store",
    "tensorboard",
    "data.cache",
    "data.workers",
    *(f"training.{name}" for name in ("epochs", "patience", "decode_epochs", "save_minutes")),
    *(f"training.{name}" for name in ("learning_rate", "clip_norm", "explosion", "precision")),
}


def read_layer(path: Path) -> Layer:
    """Settings of a TOML file; raises ConfigError where it is none."""
    try:
        # surrogateescape: paths that are not UTF-8 are written as the bytes they are.
        return tomllib.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # tomllib's own, numbers of thousands of digits, tables too deep
        raise ConfigError(f"{path}: not a TOML file ({error})") from error


def gather(file: Layer, given: Layer, read: Callable[[str], Init]) -> tuple[Settings, Init]:
    """Lay the settings of a file and of the command line over those of the recipe.

    Parameters
    ----------
    file, given : dict
        Some fields of ``Settings``, nested.
    read : callable
        From a value of ``init`` to what is there: a captioner brings its sizes, a tagger its front end.

    Raises
    ------
    ConfigError
        A setting or the recipe is unknown, or settings do not go together.
    """
    for layer in (file, given):
        from_dict(Settings, layer)  # an error names the field before anything is read
    recipe = given.get("recipe") or file.get("recipe")
    if recipe and recipe not in RECIPES:
        raise ConfigError(f"--recipe {recipe}: unknown; there are {', '.join(RECIPES)}")
    sounds = bool(merge(file, given).get("data", {}).get("sounds"))
    row = RECIPES[recipe] if recipe else {"init": "tagger"} if sounds else RECIPES[BEST]
    init = merge(row, file, given)["init"]
    start = read(init)
    if start.captioner is not None and not recipe:
        row = {}  # its own sizes
    elif not recipe and not sounds:
        recipe = BEST
    base = Settings(
        recipe=recipe or "",
        model=start.model,
        training=SOUNDS_TRAINING if sounds else TrainingConfig(),
        decoding=SOUNDS_DECODING if sounds else DecodingConfig(),
    )
    settings = from_dict(Settings, merge(to_dict(base), row, file, given))
    _check(settings)
    return settings, start


def init_name(init: str) -> str:
    """A value of ``init`` without the place that it has on one machine."""
    return Path(init).name if Path(init).is_absolute() else init


def merge(*layers: Layer) -> Layer:
    """The fields of all layers; where two have the same, the later one's."""
    merged: Layer = {}
    for layer in layers:
        for key, value in layer.items():
            former = merged.get(key)
            merged[key] = merge(former, value) if isinstance(former, dict) and isinstance(value, dict) else value
    return merged


def _check(settings: Settings) -> None:
    if settings.init == "tagger" and not settings.data.sounds:
        raise ConfigError("--init tagger trains one on labelled sounds first: it goes with --sounds")
    if settings.init == "none" and settings.training.freeze_cnn:
        raise ConfigError(
            "--freeze-cnn with --init none: a CNN10 that has learned nothing would never learn; "
            "give --init cnn10, or --train-cnn"
        )


def check_data(layer: Layer) -> None:
    """Raises ConfigError unless settings name one source of data, before anything is read or fetched."""
    data = from_dict(DataConfig, layer.get("data", {}), "data")
    if sum(map(bool, (data.clotho, data.csv, data.sounds))) != 1:
        raise ConfigError("give one of --clotho DIR, --csv FILE (with --audio DIR), --sounds DIR")
    if bool(data.csv) != bool(data.audio):
        raise ConfigError("--csv and --audio go together: the captions, and the folder of the recordings")


def as_toml(settings: Settings, head: str = "") -> str:
    """Settings as what ``--config`` reads."""
    comments = "".join(f"# {CONTROL.sub('?', line)}\n" for line in head.splitlines())
    return comments + to_toml(to_dict(settings)) + "\n"


def changes(former: Settings, now: Settings) -> list[str]:
    """Settings that differ and that a run which is taken up again must keep, for people."""
    return [f"{name}: {a!r} → {b!r}" for name, a, b in _differences(former, now) if name not in FREE]


def _differences(a: Any, b: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    found = []
    for f in fields(a):
        one, two = getattr(a, f.name), getattr(b, f.name)
        if hasattr(one, "__dataclass_fields__"):
            found += _differences(one, two, f"{prefix}{f.name}.")
        elif one != two:
            found.append((prefix + f.name, one, two))
    return found
