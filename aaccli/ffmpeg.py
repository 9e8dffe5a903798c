"""What libsndfile cannot read, through the ffmpeg program: m4a, webm, wma, and the sound of videos."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .errors import AudioError

# What ffmpeg reads and people keep sound in; used to pick files out of a folder.
SUFFIXES = frozenset(
    ".3gp .aac .ac3 .amr .ape .asf .avi .dts .flv .m4a .m4b .m4v .mka .mkv .mov .mp2 .mp4 .mpeg .mpg .mts .ogv .ra"
    " .tta .webm .wma .wmv .wv".split()
)
BLOCK_BYTES = 1 << 16


@contextmanager
def decoding(path: Path, sample_rate: int, why: str) -> Iterator[Iterator[np.ndarray]]:
    """Decode the first sound track of a file to mono at a sample rate.

    Parameters
    ----------
    path : Path
        Anything that the ffmpeg on PATH reads.
    sample_rate : int
        Hz wanted.
    why : str
        What libsndfile said of the file, for the error.

    Yields
    ------
    iterator of ndarray, shape (samples, 1)
        Blocks of float32. At its end it raises AudioError if ffmpeg failed.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(
            f"{path}: cannot be read as sound ({why}); if it is sound or a video, install ffmpeg and run this again"
        )
    # Files only: a playlist in disguise must not make ffmpeg fetch anything.
    command = [program, "-nostdin", "-v", "error", "-protocol_whitelist", "file", "-i", f"file:{path.absolute()}"]
    command += ["-map", "0:a:0", "-ac", "1", "-ar", str(sample_rate), "-f", "f32le", "pipe:1"]
    with tempfile.TemporaryFile() as said:  # a pipe that nobody reads could fill up and stop ffmpeg
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said)
        pipe = process.stdout
        assert pipe

        def blocks() -> Iterator[np.ndarray]:
            while block := pipe.read(BLOCK_BYTES):
                yield np.frombuffer(block[: len(block) // 4 * 4], "<f4")[:, None]
            if process.wait() != 0:
                said.seek(0)
                raise AudioError(f"{path}: cannot be read as sound ({why}; ffmpeg: {_last_line(said.read())})")

        try:
            yield blocks()
        finally:
            process.kill()
            pipe.close()
            process.wait()


def _last_line(said: bytes) -> str:
    """The reason, without the name of the file that ffmpeg puts before it."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line and "To ignore this" not in line]
    reason = lines[-1].rpartition(": ")[2].rstrip(".") if lines else "no reason given"
    return "it has no sound track" if "matches no streams" in reason else reason
