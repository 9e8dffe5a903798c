"""Sound files, standard input and arrays to mono sound, block by block."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from . import ffmpeg
from .errors import AudioError
from .model.features import resample

STDIN = "-"
# What people keep sound in; used to pick files out of a folder.
SUFFIXES = ffmpeg.SUFFIXES | frozenset(
    [".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".caf", ".au", ".snd", ".w64", ".rf64"]
)
# Samples (of all channels, 64 of them at most) read at a time: what a header claims is never allocated at once, and no
# more is lost where a file breaks off.
BLOCK = 1 << 14
RATES = (1000, 1_000_000)  # Hz; a rate outside is a damaged header, and would be resampled to gigabytes
LOUDEST = 1e6  # times full scale; beyond it a sample is damage, and its power would overflow
# Sizes that recorders write into headers of sound that they cannot seek back in: not promises.
UNKNOWN_SIZES = range(0x7FFFF000, 0x1_0000_0000)
PROMISED_BYTES = re.compile(r"^\s*(?:data|SSND|Data [Ss]ize)\s*:\s*(\d+)(?![\dx])", re.MULTILINE)
MAX_FLAC_FRAMES = 1 << 36
SAMPLE_DUMP = b"\xf0\x7e"  # how a MIDI sample dump begins


@dataclass(frozen=True)
class Sound:
    """Mono sound."""

    waveform: Tensor  # (samples,) float32
    sample_rate: int  # Hz
    truncated: bool = False  # there was more than was asked for
    error: AudioError | None = None  # why it ended before its time


class Reader:
    """Sound that is being read: iterate over it once for mono blocks (samples,) of float32.

    Channels are averaged; samples that are NaN, infinite or beyond any sound count as silence.
    """

    def __init__(self, name: str, sample_rate: int, blocks: Iterable[np.ndarray], seconds: float | None = None) -> None:
        self.name = name
        self.sample_rate = sample_rate  # Hz
        self.seconds = seconds  # of all of it, where that is known before it is read
        self.not_finite = 0  # samples so far that were no numbers
        self.error: AudioError | None = None  # why it ended before its time
        self._blocks = blocks  # (samples, channels)

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            for block in self._blocks:
                if not np.abs(block).max(initial=0) <= LOUDEST:  # so that nan is found too
                    bad = ~(np.abs(block) <= LOUDEST)
                    self.not_finite += int(bad.any(axis=1).sum())
                    block = np.where(bad, np.float32(0), block)
                yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float64).astype(np.float32)
        except AudioError as error:
            self.error = error


@contextmanager
def opened(path: str | Path) -> Iterator[Reader]:
    """Open a sound file for reading.

    Parameters
    ----------
    path : str or Path
        What libsndfile reads, at any rate and of any sample type, or else ffmpeg; ``-`` is standard input.

    Raises
    ------
    AudioError
        The file is missing, a folder, a pipe, empty, or not sound. What goes wrong later is in ``Reader.error``.
    """
    if str(path) == STDIN:
        with _spooled_stdin() as spooled, _opened(spooled, STDIN) as reader:
            yield reader
    else:
        with _opened(Path(path), str(path)) as reader:
            yield reader


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Reader]:
    try:
        _check_regular(path, name)
        file = _open(path)
    # TypeError: headerless .raw; ValueError: a name that no file can have, with a NUL or half a character in it.
    except (soundfile.LibsndfileError, OSError, TypeError, ValueError) as error:
        if not isinstance(error, soundfile.LibsndfileError):
            raise AudioError(f"{name}: cannot be read as sound ({_reason(error)})") from error
        if path.stat().st_size == 0:
            raise AudioError(f"{name}: cannot be read as sound (the file is empty)") from error
        with ffmpeg.decoding(path, name, _reason(error)) as decoded:
            yield Reader(name, _checked(decoded.sample_rate, name), decoded.blocks)
        return
    with file:
        rate = _checked(file.samplerate, name)
        seconds = file.frames / rate if file.frames <= MAX_FLAC_FRAMES else None
        yield Reader(name, rate, _soundfile_blocks(file, name), seconds)


def _checked(sample_rate: int, name: str) -> int:
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise AudioError(f"{name}: cannot be read as sound (a sample rate of {sample_rate} Hz)")
    return sample_rate


def _open(path: Path) -> soundfile.SoundFile:
    """Open a file with libsndfile, but for MIDI sample dumps: what is wrong in one, it prints among the captions."""
    with path.open("rb") as file:  # what may not be read, libsndfile calls a system error
        if file.read(len(SAMPLE_DUMP)) == SAMPLE_DUMP:
            raise soundfile.LibsndfileError(1)  # format not recognised: ffmpeg reads them
    # The bytes of the name, because libsndfile must also open names that are not UTF-8.
    return _Forward(os.fsencode(path))


class _Forward(soundfile.SoundFile):
    """A file that is read from its start to its end.

    soundfile seeks to where it is after each block of a file that can seek. In an mp3 that is heard: the decoder has
    lost what it overlaps the next block with.
    """

    def seekable(self) -> bool:
        return False


def _check_regular(path: Path, name: str) -> None:
    if path.is_dir():
        raise AudioError(f"{name}: is a folder, not a file, with no sound files to take from it")
    if path.is_fifo():
        raise AudioError(f"{name}: is a pipe, not a file; give its sound on stdin: aac caption - < PIPE")
    path.stat()  # raises what is_file would hide: a loop of links, a name too long
    if not path.is_file():
        raise AudioError(f"{name}: not a file")


def _soundfile_blocks(file: soundfile.SoundFile, name: str) -> Iterator[np.ndarray]:
    size = max(1, min(BLOCK, 64 * BLOCK // file.channels))
    frames = 0
    try:
        while len(block := file.read(size, dtype="float32", always_2d=True)):
            frames += len(block)
            yield block
    except soundfile.LibsndfileError as error:
        reason = _reason(error) or "damaged, or cut short"
        raise AudioError(f"{name}: cannot be read beyond {frames / file.samplerate:.2f} s ({reason})") from error
    missing = _missing(file, frames)
    if missing:
        raise AudioError(f"{name}: cut short, {frames / file.samplerate:.2f} s are there ({missing})")


def _missing(file: soundfile.SoundFile, frames: int) -> str:
    """What a header promised that was not there, in words; empty where nothing was."""
    if file.format == "FLAC":
        return f"its header promises {file.frames} samples" if frames < file.frames <= MAX_FLAC_FRAMES else ""
    promised, length = PROMISED_BYTES.search(file.extra_info), re.search(r"^Length : (\d+)", file.extra_info, re.M)
    if not promised or not length or int(promised[1]) in UNKNOWN_SIZES or int(promised[1]) <= int(length[1]):
        return ""
    return f"its header promises {promised[1]} bytes, the file has {length[1]}"


@contextmanager
def _spooled_stdin() -> Iterator[Path]:
    """Standard input as a file: libsndfile and ffmpeg want to look back."""
    if sys.stdin.isatty():
        raise AudioError("-: stdin is a terminal; pipe sound into it: aac caption - < clip.wav")
    with tempfile.TemporaryDirectory(prefix="aac-") as folder:
        spooled = Path(folder, "stdin")
        with spooled.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield spooled


def from_array(samples: np.ndarray | Tensor, sample_rate: float) -> Reader:
    """Read sound from memory.

    Parameters
    ----------
    samples : ndarray or Tensor, shape (samples,) or (samples, channels)
        As soundfile gives them. Floats have full scale at 1, integers at the largest number of their type.
    sample_rate : int, or float without a fraction
        Hz.

    Raises
    ------
    AudioError
        The array has another shape or type, or the rate is none of sound.
    """
    if isinstance(samples, Tensor):
        samples = samples.detach().cpu()
        samples = samples.float() if samples.dtype == torch.bfloat16 else samples  # which numpy has not got
    array = np.asarray(samples)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not 0 < array.shape[1] <= max(array.shape[0], 1):
        raise AudioError(f"array: shape {np.shape(samples)}, (samples,) or (samples, channels) was expected")
    if array.dtype.kind not in "iuf":
        raise AudioError(f"array: samples of {array.dtype}, floats or integers were expected")
    if not isinstance(sample_rate, Real) or sample_rate != sample_rate // 1:
        raise AudioError(f"array: a sample rate of {sample_rate!r}, whole Hz were expected")
    rate = _checked(int(sample_rate), "array")
    # Block by block, so that only a block is copied.
    blocks = (_to_float(array[i : i + BLOCK]) for i in range(0, len(array), BLOCK))
    return Reader("array", rate, blocks, len(array) / rate)


def _to_float(block: np.ndarray) -> np.ndarray:
    if block.dtype.kind == "f":
        return block.astype(np.float32)
    scale = 2.0 ** (8 * block.dtype.itemsize - 1)
    middle = scale if block.dtype.kind == "u" else 0.0  # unsigned samples are silent at half their range
    return ((block - middle) / scale).astype(np.float32)


def read(path: Path, sample_rate: int, max_seconds: float | None = None) -> Sound:
    """Read a file as mono sound at a sample rate, all of it or its start.

    Channels are averaged; samples that are not finite count as silence.

    Parameters
    ----------
    path : Path
        Any format, rate and sample type that libsndfile or ffmpeg reads.
    sample_rate : int
        Hz wanted.
    max_seconds : float, optional
        Stop reading there.

    Raises
    ------
    AudioError
        The file is missing, a folder, empty, or not sound.
    """
    with opened(path) as reader:
        limit = None if max_seconds is None else round(max_seconds * reader.sample_rate)
        blocks: list[np.ndarray] = []
        held = 0
        for block in reader:
            blocks.append(block)
            held += len(block)
            if limit is not None and held > limit:
                break
        if held == 0:
            raise reader.error or AudioError(f"{path}: holds no samples")
        mono = torch.from_numpy(np.concatenate(blocks)[:limit])
        truncated = limit is not None and held > limit
        return Sound(resample(mono, reader.sample_rate, sample_rate), sample_rate, truncated, reader.error)


def _reason(error: Exception) -> str:
    if isinstance(error, soundfile.LibsndfileError):
        text = error.error_string
    else:
        text = getattr(error, "strerror", None) or str(error)
    return text.strip().rstrip(".").lower()


def is_sound_file(path: Path) -> bool:
    """Whether a file's name says that it holds sound; hidden files are not taken."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
