"""Log-mel pictures of recordings, as PNG."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import audio
from .model.features import FrontEndConfig, LogMel

COLUMNS = 320  # at most
RANGE = 70.0  # dB below the loudest that are told apart
SHADES = 48
# From silence to the loudest: dark blue, violet, orange, pale yellow; evenly lighter, readable without colour vision.
COLOURS = ((8, 6, 32), (88, 24, 110), (190, 55, 84), (248, 142, 55), (252, 250, 190))


def logmel_picture(path: Path, max_seconds: float) -> bytes:
    """PNG of the log-mel frames of a recording: time to the right, low bands at the bottom.

    Raises
    ------
    AudioError
        The recording cannot be read.
    """
    config = FrontEndConfig()
    sound = audio.read(path, config.sample_rate, max_seconds)
    frames = LogMel(config)(sound.waveform).numpy()  # (T, bands) dB
    edges = np.linspace(0, len(frames), min(COLUMNS, len(frames)) + 1).astype(int)
    columns = np.add.reduceat(frames, edges[:-1], axis=0) / np.diff(edges)[:, None]
    level = (columns - columns.max()) / RANGE + 1
    shades = (np.clip(level, 0, 1) * (SHADES - 1)).round().astype(np.uint8)
    return png(np.ascontiguousarray(shades.T[::-1]), _palette())


def _palette() -> NDArray[np.uint8]:
    stops = np.linspace(0, 1, len(COLOURS))
    at = np.linspace(0, 1, SHADES)
    channels = [np.interp(at, stops, channel) for channel in zip(*COLOURS, strict=True)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def png(indices: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """A picture (height, width) of indices into colours (n, 3), as PNG (ISO/IEC 15948)."""
    height, width = indices.shape
    rows = np.pad(indices, ((0, 0), (1, 0)))  # each row begins with its filter: none
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
