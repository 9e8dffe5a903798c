"""Checkpoints on disk: folders of config.json, model.safetensors and, for a captioner, vocabulary.json.

A folder is written beside its final place and then moved there, so that a reader never sees half of one. A folder that
is read may come from a stranger: its config is held against types and ranges, its tensors' names, types and shapes
against the network that the config describes, before any memory is taken for them. Nothing is unpickled.
"""

from __future__ import annotations

import os
import re
import reprlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from torch.overrides import TorchFunctionMode

from . import __version__
from .calibration import Calibration
from .config import from_dict, listed, to_dict
from .errors import CheckpointError, ConfigError, UnknownSettingError
from .files.jsonfile import read_json, write_json
from .files.wholefile import reported
from .limits import MAX_LABELS, MAX_PANNS_BYTES, MAX_PARAMETERS, MAX_WORD_LENGTH, check_ranges
from .model.beam import DecodingConfig
from .model.captioner import CaptionerNet, ModelConfig
from .model.cnn10 import Cnn10Config, Tagger
from .model.features import FrontEndConfig
from .vocabulary import Vocabulary

CONFIG, WEIGHTS, VOCABULARY, CARD = "config.json", "model.safetensors", "vocabulary.json", "README.md"
VERSION = 1  # of the folder's format; a reader refuses what is newer
HEADER_BYTES = 1 << 20  # of a safetensors file, at most
Store = Literal["float32", "float16"]
T = TypeVar("T")


def _head(kind: str) -> dict[str, Any]:
    """What every config.json opens with; ``aac`` is the version that wrote it."""
    return {"format": kind, "version": VERSION, "aac": __version__}


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


def mend(folder: Path) -> None:
    """Put right what a process left that was killed while it replaced a folder; no other may be writing it."""
    for former in folder.parent.glob(f".{folder.name}.*.old"):
        if folder.exists():
            shutil.rmtree(former, ignore_errors=True)
        else:
            former.rename(folder)
    for fresh in folder.parent.glob(f".{folder.name}.*.new"):
        shutil.rmtree(fresh, ignore_errors=True)


def read_config(folder: Path, kind: str) -> dict[str, Any]:
    """Read config.json and check that it describes a ``kind`` that this version knows."""
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such folder; a model is a folder with {CONFIG}, {WEIGHTS}, or OWNER/NAME on the Hub"
        )
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("format") != kind:
        found = config.get("format") if isinstance(config, dict) else None
        raise CheckpointError(f"{folder / CONFIG}: format is {reprlib.repr(found)}, {kind!r} was expected")
    version = config.get("version")
    if type(version) is not int or version != VERSION:
        raise CheckpointError(
            f"{folder / CONFIG}: format version {reprlib.repr(version)}, this aac reads {VERSION}; {_upgrade(config)}"
        )
    return config


def _upgrade(config: dict[str, Any]) -> str:
    """What to type where a newer version wrote the config."""
    written = config.get("aac")
    if isinstance(written, str) and re.fullmatch(r"\d+(\.\w+){1,3}", written, re.ASCII) and written != __version__:
        return f"aac {written} wrote it, this is {__version__}: pip install --upgrade 'aac>={written}'"
    return f"this is aac {__version__}, if a newer one wrote it: pip install --upgrade aac"


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
        raise CheckpointError(_damaged(path, error)) from error
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
    with reported(folder), replacing(folder) as fresh:
        write_json(fresh / CONFIG, {**_head(TAGGER), **to_dict(info)})
        save_weights(fresh / WEIGHTS, tagger.state_dict())


def load_tagger(folder: Path) -> tuple[Tagger, TaggerInfo]:
    """Read a tagger's folder; raises CheckpointError where it is not one."""
    info = _read_info(folder, TAGGER, TaggerInfo)
    if not 1 <= len(info.labels) <= MAX_LABELS:
        raise CheckpointError(f"{folder / CONFIG}: {len(info.labels):,} labels, 1 to {MAX_LABELS:,} were expected")
    strange = [label for label in info.labels if not label.isprintable() or len(label) > MAX_WORD_LENGTH]
    if strange:
        raise CheckpointError(f"{folder / CONFIG}: strange labels {listed(strange)}")
    with _building(folder):
        tagger = Tagger(info.cnn10, len(info.labels), info.front_end.mels)
    _fill(tagger, folder / WEIGHTS)
    tagger.cnn10.to(memory_format=torch.channels_last)  # as it builds itself
    return tagger.eval(), info


CAPTIONER = "aac-captioner"
DEFAULT_MODEL = Path(__file__).parent / "default_model"  # comes with aac


@dataclass(frozen=True)
class CaptionerInfo:
    """What a captioner's folder says beside its weights and vocabulary."""

    model: ModelConfig
    decoding: DecodingConfig
    trained: dict[str, Any]  # how: settings, data, scores; for people
    calibration: Calibration = field(default_factory=Calibration)


def save_captioner(
    folder: Path,
    net: CaptionerNet,
    vocabulary: Vocabulary,
    info: CaptionerInfo,
    store: Store = "float32",
    card: str = "",
) -> None:
    """Write a captioner as a folder: what ``--model`` takes; ``card`` is its model card, markdown."""
    with reported(folder), replacing(folder) as fresh:
        write_json(fresh / CONFIG, {**_head(CAPTIONER), **to_dict(info)})
        vocabulary.save(fresh / VOCABULARY)
        save_weights(fresh / WEIGHTS, learned(net.state_dict()), store)
        if card:
            # The command in it may name a file whose name is not UTF-8.
            (fresh / CARD).write_text(card, encoding="utf-8", errors="backslashreplace")


def load_captioner(folder: Path) -> tuple[CaptionerNet, Vocabulary, CaptionerInfo]:
    """Read a captioner's folder; raises CheckpointError where it is not one."""
    info = _read_info(folder, CAPTIONER, CaptionerInfo)
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    with _building(folder):
        net = CaptionerNet(info.model, len(vocabulary))
    _fill(net, folder / WEIGHTS)
    net.cnn10.to(memory_format=torch.channels_last)  # as it builds itself
    return net.eval(), vocabulary, info


def write_info(folder: Path, info: CaptionerInfo) -> None:
    """Replace what a captioner's folder says beside its weights and vocabulary."""
    write_json(folder / CONFIG, {**_head(CAPTIONER), **to_dict(info)})


FRONT_END = "logmel."  # window and filterbank: computed from the config, not learned


def learned(state: dict[str, T]) -> dict[str, T]:
    """Without what is computed from the config."""
    return {k: v for k, v in state.items() if not k.startswith(FRONT_END)}


@contextmanager
def _building(folder: Path) -> Iterator[None]:
    """Lay a network out without memory for its weights; sizes that none can have are the checkpoint's fault."""
    try:
        with torch.device("meta"), _Unset():
            yield
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{folder / CONFIG}: no network can be built from it ({_first_line(error)})") from error


class _Unset(TorchFunctionMode):
    """Skip first values: they are replaced anyway, and on "meta" some would import half of PyTorch, for seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _read_info(folder: Path, kind: str, cls: type[T]) -> T:
    config = read_config(folder, kind)
    try:
        info = from_dict(cls, {k: v for k, v in config.items() if k not in _head(kind)})
        check_ranges(info)
        return info
    except UnknownSettingError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}; {_upgrade(config)}") from error
    except ConfigError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error


def _fill(module: torch.nn.Module, path: Path) -> None:
    """Give a network that was only laid out its weights; raises CheckpointError that lists what does not fit."""
    wanted = learned(module.state_dict())
    check_header(path, wanted)
    state = {k: v.clone() for k, v in load_weights(path).items()}  # the file may be replaced while the network lives
    not_finite = [k for k, v in state.items() if not v.isfinite().all()]
    if not_finite:
        raise CheckpointError(f"{path}: values that are no numbers in {listed(not_finite)}; train or fetch it again")
    front_end = {k: v for k, v in module.state_dict().items() if k not in wanted}
    module.load_state_dict({**state, **front_end}, assign=True)


def check_header(path: Path, wanted: dict[str, Tensor]) -> None:
    """Hold names, types and shapes in a safetensors file against the tensors wanted, before any of it is loaded.

    Raises
    ------
    CheckpointError
        The file is missing, damaged or too large, or something does not fit; the message lists it.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    numbers = sum(v.numel() for v in wanted.values())
    if numbers > MAX_PARAMETERS:
        raise CheckpointError(f"{path.with_name(CONFIG)}: asks for {numbers:,} weights, over {MAX_PARAMETERS:,}")
    most = 8 * numbers + HEADER_BYTES
    if path.stat().st_size > most:
        raise CheckpointError(f"{path}: {path.stat().st_size:,} bytes, its {CONFIG} asks for {most:,} at most")
    try:
        with safe_open(path, "pt") as file:
            found = {k: (file.get_slice(k).get_dtype(), tuple(file.get_slice(k).get_shape())) for k in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_damaged(path, error)) from error
    problems = [f"missing: {k}" for k in wanted if k not in found] + [f"unknown: {k}" for k in found if k not in wanted]
    for key, value in wanted.items():
        kinds = ("F32", "F16", "BF16") if value.is_floating_point() else ("I64",)
        kind, shape = found.get(key, (kinds[0], value.shape))
        if kind not in kinds or shape != value.shape:
            problems.append(f"{key}: {kind} {shape}, wanted {kinds[0]} {tuple(value.shape)}")
    if problems:
        raise CheckpointError(f"{path}: does not fit its {CONFIG} ({listed(problems)})")


def _damaged(path: Path, error: Exception) -> str:
    return f"{path}: damaged or not safetensors ({str(error)[:200]!r}); fetch or train the model again"


def load_panns_file(path: Path) -> dict[str, Tensor]:
    """The 'model' dict of a PANNs checkpoint, without unpickling anything but tensors and numpy arrays.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, holds other objects, or has no 'model'.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; --init takes none, cnn10, a CNN10 file of PANNs, a tagger's or a captioner's "
            "folder, or OWNER/NAME"
        )
    if path.stat().st_size > MAX_PANNS_BYTES:
        raise CheckpointError(f"{path}: {path.stat().st_size:,} bytes, a CNN10 of PANNs has 25 million")
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
