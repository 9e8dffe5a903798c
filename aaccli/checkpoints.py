"""Checkpoints on disk: folders of config.json, model.safetensors and, for a captioner, vocabulary.json.

A folder is written beside its final place and then moved there, so that a reader never sees half of one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from .config import from_dict, to_dict
from .errors import CheckpointError, ConfigError
from .jsonfile import read_json, write_json
from .model.beam import DecodingConfig
from .model.captioner import CaptionerNet, ModelConfig
from .model.cnn10 import Cnn10Config, Tagger
from .model.features import FrontEndConfig
from .vocabulary import Vocabulary

CONFIG, WEIGHTS, VOCABULARY, CARD = "config.json", "model.safetensors", "vocabulary.json", "README.md"
VERSION = 1  # of the folder's format; a reader refuses what is newer
Store = Literal["float32", "float16"]
T = TypeVar("T")


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the place of ``folder`` if the block ends without an error.

    Raises
    ------
    CheckpointError
        ``folder`` is something else than a folder.
    """
    folder = folder.absolute()
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise CheckpointError(f"{folder}: is not a folder; give another place to write to")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    former = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    for leftover in (fresh, former):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        if folder.exists():
            folder.rename(former)
        try:
            fresh.rename(folder)
        except BaseException:
            if former.exists():
                former.rename(folder)
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(former, ignore_errors=True)


def read_config(folder: Path, kind: str) -> dict[str, Any]:
    """Read config.json and check that it describes a ``kind`` that this version knows."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; a model is a folder with {CONFIG}, {WEIGHTS}")
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("format") != kind:
        found = config.get("format") if isinstance(config, dict) else None
        raise CheckpointError(f"{folder / CONFIG}: format is {found!r}, {kind!r} was expected")
    if config.get("version") != VERSION:
        raise CheckpointError(
            f"{folder / CONFIG}: format version {config.get('version')!r}, this aac reads {VERSION}; "
            "pip install --upgrade aac"
        )
    return config


def save_weights(path: Path, state: dict[str, Tensor], store: Store = "float32") -> None:
    """Write tensors; float16 takes half the space, batch statistics included.

    Raises
    ------
    CheckpointError
        A value is too large for float16.
    """
    dtype = getattr(torch, store)
    stored = {k: (v.to(dtype) if v.is_floating_point() else v).detach().cpu().contiguous() for k, v in state.items()}
    for key, value in stored.items():
        if value.is_floating_point() and not torch.equal(value.isfinite(), state[key].cpu().isfinite()):
            raise CheckpointError(f"{path}: {key} does not fit into {store}; store float32")
    path.write_bytes(save(stored))  # save_file would make the file readable to its owner only


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors as float32; raises CheckpointError where the file is missing or damaged."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: damaged or not safetensors ({error}); fetch or train the model again"
        ) from error
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


@dataclass(frozen=True)
class TaggerInfo:
    """What a tagger's folder says beside its weights."""

    front_end: FrontEndConfig
    cnn10: Cnn10Config
    labels: tuple[str, ...]
    trained: dict[str, Any]  # how: settings, data, scores; for people


TAGGER = "aac-tagger"


def save_tagger(folder: Path, tagger: Tagger, info: TaggerInfo) -> None:
    """Write a tagger as a folder."""
    with replacing(folder) as fresh:
        write_json(fresh / CONFIG, {"format": TAGGER, "version": VERSION, **to_dict(info)})
        save_weights(fresh / WEIGHTS, tagger.state_dict())


def load_tagger(folder: Path) -> tuple[Tagger, TaggerInfo]:
    """Read a tagger's folder; raises CheckpointError where it is not one."""
    info = _read_info(folder, TAGGER, TaggerInfo)
    with _building(folder):
        tagger = Tagger(info.cnn10, len(info.labels), info.front_end.mels)
    load_state(tagger, load_weights(folder / WEIGHTS), folder / WEIGHTS)
    return tagger.eval(), info


CAPTIONER = "aac-captioner"
DEFAULT_MODEL = Path(__file__).parent / "default_model"  # comes with aac


@dataclass(frozen=True)
class CaptionerInfo:
    """What a captioner's folder says beside its weights and vocabulary."""

    model: ModelConfig
    decoding: DecodingConfig
    trained: dict[str, Any]  # how: settings, data, scores; for people


def save_captioner(
    folder: Path,
    net: CaptionerNet,
    vocabulary: Vocabulary,
    info: CaptionerInfo,
    store: Store = "float32",
    card: str = "",
) -> None:
    """Write a captioner as a folder: what ``--model`` takes; ``card`` is its model card, markdown."""
    with replacing(folder) as fresh:
        write_json(fresh / CONFIG, {"format": CAPTIONER, "version": VERSION, **to_dict(info)})
        vocabulary.save(fresh / VOCABULARY)
        save_weights(fresh / WEIGHTS, learned(net.state_dict()), store)
        if card:
            (fresh / CARD).write_text(card, encoding="utf-8")


def load_captioner(folder: Path) -> tuple[CaptionerNet, Vocabulary, CaptionerInfo]:
    """Read a captioner's folder; raises CheckpointError where it is not one."""
    info = _read_info(folder, CAPTIONER, CaptionerInfo)
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    with _building(folder):
        net = CaptionerNet(info.model, len(vocabulary))
    front_end = {k: v for k, v in net.state_dict().items() if k.startswith(FRONT_END)}
    load_state(net, {**load_weights(folder / WEIGHTS), **front_end}, folder / WEIGHTS)
    return net.eval(), vocabulary, info


FRONT_END = "logmel."  # window and filterbank: computed from the config, not learned


def learned(state: dict[str, T]) -> dict[str, T]:
    """Without what is computed from the config."""
    return {k: v for k, v in state.items() if not k.startswith(FRONT_END)}


@contextmanager
def _building(folder: Path) -> Iterator[None]:
    """Sizes that no network can have are the checkpoint's fault."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{folder / CONFIG}: no network can be built from it ({_first_line(error)})") from error


def _read_info(folder: Path, kind: str, cls: type[T]) -> T:
    config = read_config(folder, kind)
    try:
        return from_dict(cls, {k: v for k, v in config.items() if k not in ("format", "version")})
    except ConfigError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error


def load_state(module: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Fill a module; raises CheckpointError that lists the keys and shapes that do not fit."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: does not fit its {CONFIG} ({' '.join(str(error).split())})") from error


def load_panns_file(path: Path) -> dict[str, Tensor]:
    """The 'model' dict of a PANNs checkpoint, without unpickling anything but tensors and numpy arrays.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, holds other objects, or has no 'model'.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; --init takes a CNN10 of PANNs, a tagger's folder, or none")
    # The published file keeps its sampler's state, numpy arrays, beside the weights.
    try:
        with torch.serialization.safe_globals(_numpy_parts()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the damaged bytes lead it to
        raise CheckpointError(
            f"{path}: not a PyTorch checkpoint, damaged, or one that holds more than weights and arrays "
            f"({type(error).__name__}); fetch it again"
        ) from error
    state = checkpoint.get("model") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path}: not a PANNs checkpoint (no dict 'model' of weights in it)")
    return state


def _numpy_parts() -> list[Any]:
    """What numpy arrays and numbers are pickled as: data only, none of it runs code of the file's choosing."""
    array, scalar = np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    dtypes = [kind for name, kind in vars(np.dtypes).items() if name.endswith("DType") and name != "ObjectDType"]
    # Pickled by numpy 1, the functions' module was called numpy.core.
    renamed = [(array, "numpy.core.multiarray._reconstruct"), (scalar, "numpy.core.multiarray.scalar")]
    return [np.ndarray, np.dtype, bytes, *dtypes, array, scalar, *renamed]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
