"""Log-mel frames on disk, so that a recording is decoded and resampled once."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import to_dict
from ..model.features import FrontEndConfig

VERSION = 1  # of how frames are computed; a higher one leaves former files aside


class FeatureCache:
    """A folder of float32 arrays, each named by all that its frames depend on.

    Those are the recording (path, size, time of change), the front end and the longest length. What is damaged is
    computed anew. A disk that is full is told of once, and the run goes on.
    """

    def __init__(self, folder: Path, on_problem: Callable[[str], None] = lambda message: None) -> None:
        self.folder = folder
        self.on_problem = on_problem
        self.full = False

    def get(self, path: Path, front_end: FrontEndConfig, seconds: float, compute: Callable[[Path], Tensor]) -> Tensor:
        """The frames of a recording, from the folder or computed and kept."""
        file = self.folder / self._name(path, front_end, seconds)
        try:
            return torch.from_numpy(np.load(file, allow_pickle=False))
        except (OSError, ValueError, EOFError):  # not there, or cut short
            frames = compute(path)
        if not self.full:
            try:
                self._write(file, frames.numpy())
            except OSError as error:
                self.full = True
                self.on_problem(f"{self.folder}: features are no longer kept ({error.strerror or error})")
        return frames

    def _name(self, path: Path, front_end: FrontEndConfig, seconds: float) -> str:
        try:
            status = path.stat()
            state = [status.st_size, status.st_mtime_ns]
        except OSError:
            state = []  # reading it will say what is wrong
        key = json.dumps([VERSION, os.fsencode(path.resolve()).hex(), state, to_dict(front_end), seconds])
        digest = hashlib.sha256(key.encode()).hexdigest()
        return f"{digest[:2]}/{digest[2:34]}.npy"

    def _write(self, file: Path, frames: np.ndarray) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Not by replace_file: threads and ranks may compute the same frames at once.
        part = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            with part.open("wb") as opened:
                np.save(opened, frames, allow_pickle=False)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
