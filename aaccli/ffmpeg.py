"""What libsndfile cannot read, through the ffmpeg program: m4a, webm, wma, and the sound of videos."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import AudioError

# What ffmpeg reads and people keep sound in; used to pick files out of a folder.
SUFFIXES = frozenset(
    ".3gp .aac .ac3 .amr .ape .asf .avi .dts .flv .m4a .m4b .m4v .mka .mkv .mov .mp2 .mp4 .mpeg .mpg .mts .ogv .ra"
    " .tta .webm .wma .wmv .wv".split()
)
# Formats that hold their sound themselves, as ffmpeg calls them. It reads playlists too, whatever their suffix (hls,
# dash, concat, sdp, imf): in a stranger's film.mp4 they could name any other file of this machine.
FORMATS = (
    "3dostr aac ac3 act adx aea aiff amr amrnb amrwb apc ape aptx aptx_hd asf asf_o ast au avi avr caf daud dfpwm dsf"
    " dss dts dtshd dv eac3 flac flv g722 g729 gsm gxf iff ilbc ircam iss live_flv loas m4v matroska mlp mmf mov mp3"
    " mpc mpc8 mpeg mpegts mpegvideo mtaf mv mxf nistsphere nsv nut nuv ogg oma paf pva qcp rm roq rso sbc sds shn"
    " smjpeg smk sol sox spdif svag swf tak thp truehd tta vag voc vqf w64 wav wsd wtv wv xa xwma"
).split()
BLOCK = 1 << 14  # samples, of all channels, read at a time
AU_HEADER = struct.Struct(">4sIIIII")  # magic, offset of the samples, their size, encoding, sample rate, channels


@dataclass(frozen=True)
class Decoded:
    """Sound as it comes out of ffmpeg."""

    sample_rate: int  # Hz, the file's own
    blocks: Iterator[np.ndarray]  # (samples, channels) float32; at its end AudioError if ffmpeg failed


@contextmanager
def decoding(path: Path, name: str, why: str) -> Iterator[Decoded]:
    """Decode the first sound track of a file.

    Parameters
    ----------
    path : Path
        Anything that the ffmpeg on PATH reads.
    name, why : str
        What the file is called and what libsndfile said of it, for the error.

    Raises
    ------
    AudioError
        There is no ffmpeg, or it cannot read the file.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(
            f"{name}: cannot be read as sound ({why}); if it is sound or a video, install ffmpeg and run this again"
        )
    # Files only, and no playlist: it must not make ffmpeg fetch anything, or read another file. Au, because its header
    # can be read from a pipe in one go; channels are left as they are, because ffmpeg would mix them louder.
    command = [
        program,
        "-nostdin",
        "-v",
        "error",
        "-protocol_whitelist",
        "file",
        "-format_whitelist",
        ",".join(FORMATS),
    ]
    command += ["-i", f"file:{path.absolute()}", "-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    with tempfile.TemporaryFile() as said:  # a pipe that nobody reads could fill up and stop ffmpeg
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said)
        pipe = process.stdout
        assert pipe

        def check() -> None:
            if process.wait() != 0:
                said.seek(0)
                raise AudioError(f"{name}: cannot be read as sound ({why}; ffmpeg: {_last_line(said.read())})")

        def blocks(channels: int) -> Iterator[np.ndarray]:
            while block := pipe.read(4 * channels * max(1, BLOCK // channels)):
                whole = len(block) // (4 * channels) * channels
                yield np.frombuffer(block, ">f4", whole).astype(np.float32).reshape(-1, channels)
            check()

        try:
            header = pipe.read(AU_HEADER.size)
            if len(header) < AU_HEADER.size:
                check()
                raise AudioError(f"{name}: holds no samples")
            _, offset, _, _, sample_rate, channels = AU_HEADER.unpack(header)
            pipe.read(offset - AU_HEADER.size)
            yield Decoded(sample_rate, blocks(channels))
        finally:
            process.kill()
            pipe.close()
            process.wait()


def _last_line(said: bytes) -> str:
    """The reason, without the name of the file that ffmpeg puts before it."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line and "To ignore this" not in line]
    reason = lines[-1].rpartition(": ")[2].rstrip(".") if lines else "no reason given"
    if any("not on whitelist" in line for line in lines):
        return "a playlist, or another kind of file that holds no sound itself"
    return "it has no sound track" if "matches no streams" in reason else reason
