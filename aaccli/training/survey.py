"""Decode all recordings once before training: what is missing or broken is told at the start, not in the night."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from .. import audio
from ..data.clips import Clip
from ..errors import AudioError, OutputError
from ..files.wholefile import replace_file
from ..model.features import FrontEndConfig

Reason = Literal["missing", "broken", "too short"]
SHOWN = 5  # recordings named for each reason
MEMO = "recordings.json"


@dataclass(frozen=True)
class LeftOut:
    """A recording that cannot be trained on."""

    path: Path
    reason: Reason
    detail: str


class Survey:
    """How long recordings are, remembered in a file from one start of a run to the next."""

    def __init__(self, memo: Path, front_end: FrontEndConfig, max_seconds: float, workers: int) -> None:
        self.memo = memo
        self.front_end = front_end
        self.max_seconds = max_seconds
        self.workers = workers
        self.known: dict[str, list] = {}
        self.key = [front_end.sample_rate, max_seconds]
        try:
            found = json.loads(memo.read_text(encoding="utf-8"))
            if found["key"] == self.key:
                self.known = found["recordings"]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none yet, or not one of ours: all are decoded

    def measure(
        self, clips: Sequence[Clip], on_clip: Callable[[int], None] = lambda done: None
    ) -> tuple[list[Clip], list[LeftOut]]:
        """The clips that can be trained on, with their length, and those that cannot."""
        kept, left_out = [], []
        with ThreadPoolExecutor(self.workers, "aac-survey", torch.set_num_threads, (1,)) as pool:
            for done, (clip, found) in enumerate(zip(clips, pool.map(self._measure, clips), strict=True), start=1):
                if isinstance(found, LeftOut):
                    left_out.append(found)
                else:
                    kept.append(replace(clip, seconds=found))
                on_clip(done)
        self._remember()
        return kept, left_out

    def _measure(self, clip: Clip) -> float | LeftOut:
        path, shortest = clip.path, self.front_end.min_samples / self.front_end.sample_rate
        if not clip.is_there:
            return LeftOut(path, "missing", "no such file")
        name, status = str(path), path.stat()
        state = [status.st_size, status.st_mtime_ns]
        if self.known.get(name, [None])[0] != state:
            self.known[name] = [state, *self._decode(path)]
        _, seconds, problem = self.known[name]
        if problem:
            return LeftOut(path, "broken", problem)
        if seconds < shortest:
            return LeftOut(path, "too short", f"{seconds:.3f} s, at least {shortest:.3f} s are needed")
        return seconds

    def _decode(self, path: Path) -> tuple[float, str]:
        try:
            sound = audio.read(path, self.front_end.sample_rate, self.max_seconds)
        except AudioError as error:
            return 0.0, str(error)
        return len(sound.waveform) / sound.sample_rate, str(sound.error or "")

    def _remember(self) -> None:
        with suppress(OutputError):  # the next start decodes again
            replace_file(self.memo, [json.dumps({"key": self.key, "recordings": self.known}).encode()])


def tell(name: str, clips: int, left_out: Sequence[LeftOut]) -> list[str]:
    """Lines for people: how many of a split's clips are left out, why, and the first of them."""
    if not left_out:
        return []
    counts = Counter(x.reason for x in left_out)
    lines = [f"{name}: {len(left_out)} of {clips} recordings are left out: "]
    lines[0] += ", ".join(f"{count} {reason}" for reason, count in counts.items())
    for reason, count in counts.items():
        some = [x for x in left_out if x.reason == reason][:SHOWN]
        lines += [f"{reason}: {x.path.name} ({x.detail.removeprefix(f'{x.path}: ')})" for x in some]
        lines += [f"{reason}: and {count - SHOWN} more"] * (count > SHOWN)
    return lines
