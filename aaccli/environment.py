"""What aac runs on, for whoever reads an issue: versions, device, folders, programs, model."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

from . import __version__
from .errors import AacError

PACKAGES = ("torch", "torchaudio", "soundfile", "numpy", "typer", "rich", "huggingface-hub", "pycocoevalcap")
MISSING = "not here"


def describe() -> dict[str, str]:
    """Name and value, in the order in which they are told; nothing raises, nothing is fetched."""
    return {
        "aac": __version__,
        "Python": f"{platform.python_version()} on {platform.platform()}",
        **{name: _version(name) for name in PACKAGES},
        "libsndfile": _libsndfile(),
        "device": _device(),
        "model": _model(),
        "cache": _cache(),
        "cache of the Hub": _hub_cache(),
        "Java": _java(),
        "ffmpeg": shutil.which("ffmpeg") or MISSING,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING


def _libsndfile() -> str:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        return f"does not load: {error}"
    return str(soundfile.__libsndfile_version__)


def _device() -> str:
    try:
        from .devices import pick_device
        from .model import winograd
        from .precision import NAMES, capabilities, pick_inference_precision

        device = pick_device("auto", None)
        dtype = pick_inference_precision("auto", device)
    except (ImportError, OSError) as error:
        return f"torch does not load: {error}"
    import torch

    name = capabilities().get("cpu_name") or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    convolutions = ""
    if device.type == "cpu" and dtype == torch.float32:
        why = winograd.why_not()
        convolutions = f", PyTorch's convolutions ({why})" if why else ", Winograd convolutions"
    return f"{device} ({name}), {torch.get_num_threads()} threads, {NAMES[dtype]}{convolutions}"


def _model() -> str:
    try:
        from .captioning.captioner import Captioner

        captioner = Captioner.from_pretrained()
    except (AacError, ImportError, OSError) as error:
        return f"does not load: {error}"
    return f"{captioner.name} ({captioner.fingerprint})"


def _cache() -> str:
    from .fetching.cache import cache_folder

    try:
        return str(cache_folder())
    except AacError as error:
        return str(error)


def _hub_cache() -> str:
    try:
        from huggingface_hub import constants
    except ImportError as error:
        return f"does not load: {error}"
    return constants.HF_HUB_CACHE


def _java() -> str:
    from .metrics.java import find_java

    try:
        java = find_java()
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False).stderr
    except (AacError, OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return f"{(said.splitlines() or [''])[0]} ({os.fspath(java)})"
