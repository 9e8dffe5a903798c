"""Twenty thousand damaged sound files through the reader: a typed error or sound, and nothing else.

    python tests/benchmarks/fuzz_audio.py [--count 20000] [--first 0] [--keep DIR] [--no-ffmpeg]

Each file is read as `aac caption` reads it: opened, cut into windows, resampled. It may be read whole, break off (what
is there, and a typed error), or be refused (a typed error). All else is a finding, and its file is kept in DIR: an
error that has no type, sound that is not finite, times that run backwards, something on stdout, a crash of the process,
more than 2 s of processor time (ffmpeg's too) or 20 s in all, more than 500 MB. The reader works in a process of its
own, which is started again when it dies. Memory is the most that this process held while it read the file, beyond what
it held before the first one (PyTorch); or, where that is more, what ffmpeg held, looked at every 5 ms. Prints a table;
ends with 1 if there was a finding. Linux only (it looks into /proc).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mutants import SHARES, Mutant, mutant

SECONDS, MEGABYTES = 2.0, 500.0  # of processor time and memory, that a file may take
GIVE_UP = 20.0  # seconds after which the process is killed, whether it computes or waits
FINE = ("whole", "breaks off", "refused")
RATE = 44100  # Hz, of most models


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    verdict: str  # whole, breaks off, refused; or a finding: untyped, wrong, crash, hang, memory
    seconds: float = 0.0
    megabytes: float = 0.0  # beyond what the process held before its first file; or of ffmpeg
    detail: str = ""


# --- in the process that reads ---


def hear(path: str) -> tuple[str, str]:
    """Read a file as `aac caption` does; gives the verdict, and in words why."""
    import torch

    from aaccli.audio import opened
    from aaccli.captioning.reading import Ending, parts
    from aaccli.captioning.windows import Windowing
    from aaccli.model.features import resample

    before, windows = 0.0, 0
    for part in parts(path, opened(path), Windowing()):
        if isinstance(part, Ending):
            message = str(part.error or "")
            if message and not (message.startswith(f"{path}: ") and message.isprintable() and len(message) < 1000):
                return "wrong", f"message {message!r}"
            return ("breaks off" if windows else "refused") if message or not windows else "whole", message
        heard = resample(torch.from_numpy(part.samples), part.sample_rate, RATE)
        if not heard.isfinite().all():
            return "wrong", "samples that are no numbers"
        if not before <= part.start < part.end < math.inf or not 0 <= (part.seconds or 0) < math.inf:
            return "wrong", f"times {part.start} to {part.end} of {part.seconds}"
        before, windows = part.start, windows + 1
    return "wrong", "no ending"


class Watch:
    """The most memory that this process and those that it starts hold, in MB."""

    def __init__(self) -> None:
        self.base = _memory("self", "VmRSS")
        self.of_children = 0.0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(0.005)
            pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            # Until it is ffmpeg, a child is a copy of this process, with its memory.
            self.of_children = max([self.of_children, *(_memory(pid, "VmHWM", "ffmpeg") for pid in pids)])

    def forget(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self.of_children = 0.0

    def most(self) -> float:
        return max(_memory("self", "VmHWM") - self.base, self.of_children)


def _memory(pid: str, field: str, name: str = "") -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended
        return 0.0
    found = re.search(rf"^Name:\s+{name}.*^{field}:\s+(\d+)", status, re.S | re.M)
    return int(found[1]) / 1024 if found else 0.0


def _processor() -> float:
    """Seconds of this process, and of the children that have ended."""
    return sum(os.times()[:4])


def work() -> None:
    """Say that it is ready, then outcomes as lines of JSON on stdout for the paths on stdin."""
    answers = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryFile() as printed:  # what libraries print: stdout is for captions
        os.dup2(printed.fileno(), 1)
    hear("nowhere.wav")  # pays for what is imported late
    watch = Watch()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        watch.forget()
        began = _processor()
        try:
            verdict, detail = hear(line.rstrip("\n"))
        except Exception as error:  # whatever it is: a finding
            verdict, detail = "untyped", f"{type(error).__name__}: {error}"
        outcome = Outcome(verdict, _processor() - began, watch.most(), detail)
        ctypes.CDLL(None).fflush(None)
        if os.lseek(1, 0, os.SEEK_END):
            os.ftruncate(1, 0)
            outcome = replace(outcome, verdict="wrong", detail="something was printed on stdout")
        print(json.dumps(asdict(outcome)), file=answers, flush=True)


# --- in the process that watches ---


class Reader:
    """A process that reads files, started again when it dies."""

    def __init__(self, command: Sequence[str], give_up: float = GIVE_UP, path: str | None = None) -> None:
        self.command = command
        self.give_up = give_up
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"} | ({} if path is None else {"PATH": path})
        self.process: subprocess.Popen[str] | None = None

    def read(self, path: Path) -> Outcome:
        """What becomes of a file."""
        outcome = self._read(path)
        if outcome.verdict in FINE and outcome.seconds > SECONDS:
            return replace(outcome, verdict="hang")
        if outcome.verdict in FINE and outcome.megabytes > MEGABYTES:
            return replace(outcome, verdict="memory")
        return outcome

    def _read(self, path: Path) -> Outcome:
        process = self.process = self.process or self._start()
        assert process.stdin and process.stdout
        began = time.monotonic()
        try:
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died: its answer is the end of the file
        answered, _, _ = select.select([process.stdout], [], [], self.give_up)
        line = process.stdout.readline() if answered else ""
        if line:
            return Outcome(**json.loads(line))
        if answered:
            process.wait()  # the end of its answers is its own end
        self.close()
        died = process.returncode
        why = signal.Signals(-died).name if died < 0 else f"exit code {died}"
        return Outcome("crash", detail=why) if answered else Outcome("hang", time.monotonic() - began)

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment
        )
        assert process.stdout
        process.stdout.readline()  # ready: importing PyTorch may take longer than any file
        return process

    def close(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None


def reader(ffmpeg: bool = True) -> Reader:
    """The process that hears with aac; without ffmpeg there is none on its PATH."""
    return Reader([sys.executable, __file__, "--work"], path=None if ffmpeg else "")


def fuzz(numbers: Sequence[int], reading: Reader) -> Iterator[tuple[Mutant, Outcome]]:
    """Read the damaged files of numbers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.wav")  # the content counts, not the suffix
        for number in numbers:
            damaged = mutant(number)
            path.write_bytes(damaged.content)
            yield damaged, reading.read(path)
    reading.close()


def table(outcomes: Sequence[tuple[str, Outcome]]) -> str:
    """A line for each kind of file."""
    lines = [("", "files", *FINE, "untyped", "wrong", "crash", "hang", "memory", "slowest s", "MB")]
    for name in [*SHARES, "all"]:
        of_kind = [outcome for kind, outcome in outcomes if name in (kind, "all")]
        if of_kind:
            times = Counter(outcome.verdict for outcome in of_kind)
            slowest, most = max(o.seconds for o in of_kind), max(o.megabytes for o in of_kind)
            counts = (str(times[verdict]) for verdict in lines[0][2:-2])
            lines.append((name, str(len(of_kind)), *counts, f"{slowest:.2f}", f"{most:.0f}"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(f"{cell:>{n}}" for cell, n in zip(line, widths, strict=True)) for line in lines)


def main() -> int:
    """Read the files that the options name; returns 1 if there was a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--keep", type=Path, default=Path("findings"), help="folder for the files of findings")
    parser.add_argument("--no-ffmpeg", action="store_true", help="as on a machine that has none")
    given = parser.parse_args()
    outcomes = []
    for damaged, outcome in fuzz(range(given.first, given.first + given.count), reader(not given.no_ffmpeg)):
        outcomes.append((damaged.kind.name, outcome))
        if outcome.verdict not in FINE:
            given.keep.mkdir(parents=True, exist_ok=True)
            (given.keep / f"{damaged.number}.{damaged.kind.format.lower()}").write_bytes(damaged.content)
            print(f"{damaged.number} ({damaged.kind.format} {damaged.kind.subtype}): {outcome}", flush=True)
        if len(outcomes) % 1000 == 0:
            print(f"{len(outcomes)} files", file=sys.stderr, flush=True)
    print(table(outcomes))
    return int(any(outcome.verdict not in FINE for _, outcome in outcomes))


sys.path.insert(0, str(Path(__file__).parents[2]))  # the aac beside this file, wherever it is called from
if __name__ == "__main__":
    if sys.argv[1:] == ["--work"]:
        work()
    else:
        sys.exit(main())
