"""What a run tells while it goes on: metrics.jsonl, the page of learning curves, TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config import to_dict
from ..errors import ConfigError, OutputError
from ..files.wholefile import append_whole, reported
from ..metrics.output import write_whole
from .config import Epoch, Step
from .curves import render
from .trainer import Position

METRICS, CURVES = "metrics.jsonl", "curves.html"


class Journal:
    """The records of one run. A disk that is full is told of, and the run goes on; with room again all are written."""

    def __init__(
        self, out: Path, title: str, at: Position, tensorboard: bool, on_problem: Callable[[str], None]
    ) -> None:
        """Go on after a position: what was written of later steps will be written again."""
        self.out, self.title, self.on_problem = out, title, on_problem
        self.unwritten = [e for e in _read(out / METRICS) if _is_before(e, at)]
        self.steps = [e for e in self.unwritten if e["kind"] == "step"]
        self.epochs = [e for e in self.unwritten if e["kind"] == "epoch"]
        self.begun = False  # else the file holds what a former run wrote
        self.told: set[str] = set()  # problems
        self.keep()
        self.board = board_writer()(str(out / "tensorboard"), purge_step=len(self.steps) + 1) if tensorboard else None

    def step(self, step: Step) -> None:
        entry = {"kind": "step", **to_dict(step)}
        self.steps.append(entry)
        self._append(entry)
        if self.board:
            for name in ("loss", "cross_entropy", "rlssr", "learning_rate", "gradient_norm", "clips_per_second"):
                self.board.add_scalar(f"train/{name}", entry[name], len(self.steps))

    def epoch(self, epoch: Epoch) -> None:
        entry = {"kind": "epoch", **to_dict(epoch)}
        self.epochs.append(entry)
        self._append(entry)
        self.draw(running=True)
        if self.board:
            scores = {"loss": epoch.validation_loss, "cross_entropy": epoch.validation_cross_entropy, **epoch.scores}
            for name, value in scores.items():
                self.board.add_scalar(f"validation/{name}", value, len(self.steps))
            self.board.flush()

    def draw(self, running: bool) -> None:
        """Write the page anew; while the run goes on, browsers reload it."""
        page = render(self.title, self.steps, self.epochs, running)
        self._guarded(lambda: write_whole(self.out / CURVES, page))

    def close(self) -> None:
        self.keep()
        self.draw(running=False)
        if self.board:
            self.board.close()

    def _append(self, entry: dict[str, Any]) -> None:
        self.unwritten.append(entry)
        self.keep()

    def keep(self) -> None:
        """Write what is not in the file yet."""
        self._guarded(self._write)

    def _write(self) -> None:
        path, lines = self.out / METRICS, "".join(map(_line, self.unwritten))
        if not self.begun:
            write_whole(path, lines)
        elif lines:
            with reported(path), path.open("ab", buffering=0) as file:
                append_whole(file, lines.encode(), path)
        self.begun = True
        self.unwritten.clear()

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OutputError as error:
            if str(error) not in self.told:  # not at every step
                self.on_problem(f"{error}; training goes on")
            self.told.add(str(error))


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _read(path: Path) -> list[dict[str, Any]]:
    """The entries of a file; the last line of a run that was killed may be cut short."""
    try:
        # Not splitlines: captions may hold what else ends a line, U+2028 for one.
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []
    entries = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("kind") in ("step", "epoch"):
            entries.append(entry)
    return entries


def _is_before(entry: dict[str, Any], at: Position) -> bool:
    if entry["epoch"] <= at.epoch:
        return True
    return entry["kind"] == "step" and entry["epoch"] == at.epoch + 1 and entry["step"] <= at.step


def board_writer() -> Any:
    """What writes for TensorBoard; raises ConfigError where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("--tensorboard: it is not installed; pip install tensorboard") from error
    return SummaryWriter
