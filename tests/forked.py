"""Python in processes of their own, without the seconds that each would take to import torch.

A server that has imported torch, and done nothing else, forks them. Each has its own signals, streams, environment and
end, and imports aac itself, as one that is started at a shell. What importing costs is not to be tested with them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

AAC = "import runpy; runpy.run_module('aaccli', run_name='__main__', alter_sys=True)"  # python -m aaccli
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["torch", "torchaudio", "torch._dynamo"])  # the last one is what optimizers import


def _work(code: str, arguments: list[str], environment: dict[str, str], streams: list[Connection]) -> None:
    """Become a process that was started with these."""
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115 -- by their numbers
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


def start(
    code: str,
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    streams: tuple[int | None, int | None, int | None] = (None, None, None),
) -> ForkServerProcess:
    """Run code with arguments; streams are files' numbers for stdin, stdout and stderr, None the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    opened = [Connection(os.dup(null if number is None else number)) for number in streams]
    os.close(null)
    given = {**os.environ, **(environment or {})}
    process = SERVER.Process(target=_work, args=(code, [*map(str, arguments)], given, opened), daemon=True)
    process.start()
    for stream in opened:
        stream.close()
    return process


@dataclass(frozen=True)
class Done:
    """How a process ended: minus a signal's number where one killed it."""

    returncode: int | None
    stdout: str
    stderr: str


def run(code: str, *arguments: object, environment: Mapping[str, str] | None = None, seconds: float = 600) -> Done:
    """Run code with arguments to its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        streams = (None, out.fileno(), errors.fileno())
        process = start(code, *arguments, environment=environment, streams=streams)
        process.join(seconds)
        code_of_end = process.exitcode
        process.kill()
        said = []
        for file in (out, errors):
            file.seek(0)
            said.append(file.read().decode())
    return Done(code_of_end, *said)
