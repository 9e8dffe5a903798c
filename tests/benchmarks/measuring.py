"""Seconds and megabytes, and tables of them."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from aaccli.model import winograd


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows; a short one is filled up, as of what is not there."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(str, [*row, *[''] * (len(head) - len(row))]))} |", flush=True)


def interleaved(what: Mapping[str, Callable[[], object]], runs: int, warm: bool = True) -> dict[str, float]:
    """Median seconds of each; ``warm``: after one run of each that does not count."""
    for call in what.values() if warm else ():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in what}
    for _ in range(runs):
        for name, call in what.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(some) for name, some in seconds.items()}


@contextmanager
def pytorchs_convolutions() -> Iterator[None]:
    """Networks that are made ready or trained inside use no Winograd convolutions."""
    with patch.object(winograd, "why_not", lambda: "left out to compare"):
        yield


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def process(*arguments: object) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


# A process's peak counts what its parent held when it was started: so the parent is a small one.
SMALL_PARENT = """
import os, sys
child = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_of(*arguments: object) -> tuple[str, str]:
    """Peak resident memory in MB, and seconds, of a python process."""
    began = time.perf_counter()
    command = [sys.executable, "-c", SMALL_PARENT, *map(str, arguments)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return f"{float(said.split()[-1]):.0f}", f"{time.perf_counter() - began:.1f}"
