"""Where a run stands, on disk: what it needs to go on as if it had never stopped.

OUT/state holds the two newest states, each a file of ``torch.save`` that is whole or not there: epoch0003-step000120.pt
was written after 120 steps of the epoch that follows the third. Random states are not in it: every draw depends on
the seed, the epoch and the step alone.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, OutputError
from ..files.wholefile import replace_file, reported

VERSION = 1


class StateFolder:
    """The newest states of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.good: Path | None = None  # the last one that was written or read

    def files(self) -> list[Path]:
        """States, oldest first."""
        return sorted(self.folder.glob("epoch*.pt"))

    def save(self, state: dict[str, Any], epoch: int, step: int) -> None:
        """Write a state and keep the good one before it.

        Raises
        ------
        CheckpointError
            It cannot be written; the one before is as it was.
        """
        file = self.folder / f"epoch{epoch:04d}-step{step:06d}.pt"
        if file == self.good:
            return  # no step since
        content = io.BytesIO()
        torch.save({"version": VERSION, **state}, content)
        try:
            with reported(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(file, [content.getvalue()], sync=True)
        except OutputError as error:
            kept = f"{self.good} is kept" if self.good else "there is none yet"
            raise CheckpointError(f"{error}; {kept}") from error
        for other in (*self.files(), *self.folder.glob(".*.part")):
            if other not in (file, self.good):
                other.unlink()  # an older one, or what a crash left of one
        self.good = file

    def load(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest state that can be read, None where there is none; and what was wrong with newer ones.

        Raises
        ------
        CheckpointError
            There are states, and none can be read.
        """
        problems = []
        for file in reversed(self.files()):
            try:
                state = _read(file)
            except CheckpointError as error:
                problems.append(str(error))
                continue
            self.good = file
            return state, [f"{problem}; going on from {file.name}" for problem in problems]
        if problems:
            raise CheckpointError("; ".join(problems) + "; start anew with another --out, and --init OUT/best")
        return None, []


def _read(file: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()  # PyTorch does not look at the checksums that it writes
            if damaged:
                raise CheckpointError(f"{file}: damaged ({damaged})")
        state = torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # zipfile and torch.load raise whatever the damaged bytes lead them to
        raise CheckpointError(f"{file}: cut short or damaged ({type(error).__name__})") from error
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise CheckpointError(f"{file}: not a state of version {VERSION}")
    return state
