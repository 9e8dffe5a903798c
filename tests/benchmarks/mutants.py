"""Damaged sound files by number: the same number, the same bytes, wherever libsndfile encodes alike.

Each begins as a sound file of one of ``KINDS`` and suffers what disks, networks, broken recorders and malice do to it.
Checksums that a decoder looks at before anything else are often made right again, or it would see little of the damage.
"""

from __future__ import annotations

import io
import random
import struct
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import soundfile

RATE, SECONDS = 16000, 1.2  # more than a reader's block


@dataclass(frozen=True)
class Kind:
    """A format and how it holds its samples."""

    name: str  # what the tables call it
    format: str  # of libsndfile
    subtype: str
    channels: int = 1
    rate: int = RATE


KINDS = tuple(
    Kind(name, *rest)
    for name, variants in {
        "wav": [
            ("WAV", "PCM_16", 2),
            ("WAV", "PCM_U8"),
            ("WAV", "PCM_24", 6),
            ("WAV", "FLOAT"),
            ("WAV", "IMA_ADPCM"),
            ("WAV", "MS_ADPCM", 2),
            ("WAV", "ULAW"),
            ("WAV", "GSM610"),
            ("WAV", "G721_32"),
            ("WAV", "NMS_ADPCM_16"),
            ("WAVEX", "PCM_32"),
            ("RF64", "PCM_16"),
        ],
        "flac": [("FLAC", "PCM_16", 2), ("FLAC", "PCM_24"), ("FLAC", "PCM_S8", 5)],
        "ogg": [("OGG", "VORBIS"), ("OGG", "VORBIS", 2), ("OGG", "VORBIS", 6)],
        "opus": [("OGG", "OPUS", 1, 48000), ("OGG", "OPUS", 2, 48000)],
        "mp3": [("MP3", "MPEG_LAYER_III"), ("MP3", "MPEG_LAYER_III", 2, 44100), ("MP3", "MPEG_LAYER_III", 2)],
        "aiff": [("AIFF", "PCM_16", 2), ("AIFF", "FLOAT"), ("AIFF", "GSM610"), ("AIFF", "DWVW_16")],
        "caf": [("CAF", "PCM_16", 2), ("CAF", "ALAC_16", 2), ("CAF", "ALAC_24"), ("CAF", "ULAW")],
        "au": [("AU", "PCM_16", 2), ("AU", "G721_32"), ("AU", "ALAW")],
        "w64": [("W64", "PCM_16", 2), ("W64", "IMA_ADPCM"), ("W64", "MS_ADPCM", 2)],
        "others": [
            ("AVR", "PCM_16"),
            ("HTK", "PCM_16"),
            ("IRCAM", "FLOAT", 2),
            ("MAT4", "PCM_16"),
            ("MAT5", "DOUBLE"),
            ("MPC2K", "PCM_16"),
            ("NIST", "PCM_16", 2),
            ("PAF", "PCM_24"),
            ("PVF", "PCM_32"),
            ("SDS", "PCM_16"),
            ("SVX", "PCM_16"),
            ("VOC", "PCM_U8", 2),
            ("WVE", "ALAW", 1, 8000),
            ("XI", "DPCM_16"),
        ],
    }.items()
    for rest in variants
)
# How many of each name there are among 26.
SHARES = dict(wav=5, flac=4, ogg=4, opus=2, mp3=4, aiff=2, caf=2, au=1, w64=1, others=1)  # noqa: C408

# What headers are made of: the names of chunks and of what comes in them.
MARKERS = (
    *(b"RIFF", b"RF64", b"ds64", b"WAVE", b"fmt ", b"fact", b"data", b"PEAK", b"LIST", b"FORM", b"COMM", b"SSND"),
    *(b"fLaC", b"OggS", b"vorbis", b"OpusHead", b"OpusTags", b".snd", b"caff", b"desc", b"pakt", b"kuki", b"chan"),
    *(b"riff", b"Xing", b"Info", b"LAME", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf8", b"BODY", b"VHDR"),
)
CHUNKS = (
    *(b"LIST", b"bext", b"cue ", b"smpl", b"inst", b"cart", b"fact", b"fmt ", b"data", b"PEAK", b"acid", b"JUNK"),
)
CHUNKS += (
    b"COMM",
    b"SSND",
    b"MARK",
    b"APPL",
    b"ANNO",
    b"desc",
    b"chan",
    b"pakt",
    b"kuki",
    b"free",
    b"ID3 ",
    b"\0\0\0\0",
)
NUMBERS = (
    *range(10),
    *(12, 15, 16, 17, 24, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 257, 511, 999, 1000, 1023, 1024, 1025, 4095),
    *(8000, 32767, 32768, 44100, 65534, 65535, 65536, 192000, 999_999, 1_000_000, 1_000_001, 2**24 - 1, 2**24),
    *(2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**36 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
)


@cache
def original(kind: Kind) -> bytes:
    """The whole file, without what differs from run to run: serial numbers of Ogg, times of writing."""
    time = np.arange(round(SECONDS * kind.rate)) / kind.rate
    noise = np.random.default_rng(0).standard_normal((len(time), kind.channels))
    samples = 0.3 * np.sin(2 * np.pi * 440 * time)[:, None] + 0.05 * noise
    file = io.BytesIO()
    soundfile.write(file, samples, kind.rate, format=kind.format, subtype=kind.subtype)
    content = bytearray(file.getvalue())
    peak = content.find(b"PEAK")
    if peak >= 0:
        content[peak + 12 : peak + 16] = bytes(4)
    if content.startswith(b"OggS"):
        for page in _places(content, b"OggS"):
            content[page + 14 : page + 18] = b"aac\0"
        seal_ogg(content)
    return bytes(content)


@dataclass(frozen=True)
class Mutant:
    """A damaged file."""

    number: int
    kind: Kind
    content: bytes


def mutant(number: int) -> Mutant:
    """The damaged file of a number."""
    chance = random.Random(number)
    name = chance.choices(list(SHARES), list(SHARES.values()))[0]
    kind = chance.choice([kind for kind in KINDS if kind.name == name])
    content = bytearray(original(kind))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        chance.choices(DAMAGES, WEIGHTS)[0](content, chance)
    if chance.random() < 0.7:
        seal_ogg(content)
        seal_flac(content)
    return Mutant(number, kind, bytes(content))


# --- damages, each in place ---


def _flip(content: bytearray, chance: random.Random) -> None:
    """Bits, of the header half of the time."""
    for _ in range(chance.choice((1, 1, 2, 8, 100))):
        if content:
            content[_place(content, chance)] ^= 1 << chance.randrange(8)


def _number(content: bytearray, chance: random.Random) -> None:
    """A number that makes no sense, after a marker or anywhere."""
    size = chance.choice((1, 2, 2, 4, 4, 4, 8))
    value = chance.choice(NUMBERS) if chance.random() < 0.8 else chance.getrandbits(8 * size)
    marked = [place for marker in MARKERS for place in _places(content, marker)[:20]]
    at = chance.choice(marked) + chance.randrange(48) if marked and chance.random() < 0.7 else _place(content, chance)
    if at + size <= len(content):
        content[at : at + size] = (value % 256**size).to_bytes(size, chance.choice(("little", "big")))


def _cut_off(content: bytearray, chance: random.Random) -> None:
    del content[_place(content, chance) :]


def _remove(content: bytearray, chance: random.Random) -> None:
    at = _place(content, chance)
    del content[at : at + _length(chance)]


def _repeat(content: bytearray, chance: random.Random) -> None:
    at = _place(content, chance)
    content[at:at] = content[at : at + _length(chance)] * chance.choice((1, 1, 2, 30))


def _move(content: bytearray, chance: random.Random) -> None:
    at, size = _place(content, chance), _length(chance)
    piece = content[at : at + size]
    del content[at : at + size]
    to = _place(content, chance)
    content[to:to] = piece


def _insert(content: bytearray, chance: random.Random) -> None:
    at, size = _place(content, chance), _length(chance)
    content[at:at] = chance.choice((chance.randbytes(size), bytes(size), b"\xff" * size))


def _samples(content: bytearray, chance: random.Random) -> None:
    """A stretch of what no recorder writes: not a number, infinity, the largest of all, one byte again and again."""
    at, size = _place(content, chance), 4 * chance.choice((1, 10, 1000))
    specials = (np.nan, np.inf, -np.inf, 3e38, 1e-45)
    piece = struct.pack(chance.choice("<>") + "f", chance.choice(specials)) * (size // 4)
    if chance.random() < 0.5:
        piece = bytes([chance.randrange(256)]) * size
    content[at : at + size] = piece[: max(0, len(content) - at)]


def _chunk(content: bytearray, chance: random.Random) -> None:
    """A chunk that was not there, before one that was; its size may lie."""
    payload = chance.randbytes(chance.choice((0, 1, 4, 20, 40, 602, 2000)))
    size = len(payload) if chance.random() < 0.5 else chance.choice(NUMBERS) % 2**32
    chunk = chance.choice(CHUNKS) + size.to_bytes(4, chance.choice(("little", "big"))) + payload
    marked = [place for marker in MARKERS for place in _places(content, marker)[:20]] or [0]
    at = chance.choice(marked)
    content[at:at] = chunk


def _splice(content: bytearray, chance: random.Random) -> None:
    """The head of this, the rest of another."""
    other = original(chance.choice(KINDS))
    content[_place(content, chance) :] = other[_place(bytearray(other), chance) :]


DAMAGES = (_flip, _number, _cut_off, _remove, _repeat, _move, _insert, _samples, _chunk, _splice)
WEIGHTS = (6, 10, 2, 2, 2, 2, 2, 2, 3, 1)


def _place(content: bytearray, chance: random.Random) -> int:
    """Somewhere: a third each in what is most often the header, in the samples, anywhere."""
    size = len(content)
    first, after = chance.choice(((0, min(size, 120)), (size // 2, size), (0, size)))
    return chance.randrange(first, max(first + 1, after))


def _length(chance: random.Random) -> int:
    return chance.choice((1, 2, 3, 4, 8, 20, 100, 1000, 5000))


def _places(content: bytearray, marker: bytes) -> list[int]:
    found, at = [], content.find(marker)
    while at >= 0:
        found.append(at)
        at = content.find(marker, at + 1)
    return found


# --- checksums ---


def seal_ogg(content: bytearray) -> None:
    """Give every page of Ogg the checksum of what is in it."""
    for page in _places(content, b"OggS"):
        if page + 27 > len(content):
            return
        table = content[page + 27 : page + 27 + content[page + 26]]
        end = page + 27 + len(table) + sum(table)
        content[page + 22 : page + 26] = bytes(4)
        content[page + 22 : page + 26] = _crc(content[page:end], 32, 0x04C11DB7).to_bytes(4, "little")


def seal_flac(content: bytearray) -> None:
    """Give every frame of FLAC the checksums of its header and of all of it; what looks like a frame's start is one."""
    if not content.startswith(b"fLaC"):
        return
    frames = [place for place in _places(content, b"\xff\xf8") if place >= 42]
    for frame, following in pairwise((*frames, len(content))):
        if following - frame < 20:
            continue  # no frame is so short
        head = 4 + _utf8_length(content[frame + 4])
        head += {6: 1, 7: 2}.get(content[frame + 2] >> 4, 0)  # the number of samples, written out
        head += {12: 1, 13: 2, 14: 2}.get(content[frame + 2] & 15, 0)  # the sample rate, written out
        content[frame + head] = _crc(content[frame : frame + head], 8, 0x07)
        content[following - 2 : following] = _crc(content[frame : following - 2], 16, 0x8005).to_bytes(2, "big")


def _utf8_length(first: int) -> int:
    return next((ones for ones in range(8) if not first & 0x80 >> ones), 1) or 1


def _crc(data: bytes | bytearray, bits: int, polynomial: int) -> int:
    table, mask, value = _crc_table(bits, polynomial), (1 << bits) - 1, 0
    for byte in data:
        value = ((value << 8) & mask) ^ table[(value >> bits - 8) ^ byte]
    return value


@cache
def _crc_table(bits: int, polynomial: int) -> list[int]:
    top, mask = 1 << bits - 1, (1 << bits) - 1
    table = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & top else 0)) & mask
        table.append(value)
    return table
