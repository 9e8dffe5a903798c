"""Small archives as those of Clotho and of CoreNLP are published."""

from __future__ import annotations

import functools
import io
import zipfile

import numpy as np
import py7zr
import soundfile

from aaccli.fetching.assets import SPICE_JARS

NAMES = [" Ambience Birds.wav", "Café, 3 p.m..wav", "rain.wav"]  # as Clotho has them: spaces in front, commas, accents


def wav(seed: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.random.default_rng(seed).standard_normal(800), 44100, format="WAV")
    return file.getvalue()


def sounds_7z(folder: str, contents: dict[str, bytes] | None = None) -> bytes:
    file = io.BytesIO()
    with py7zr.SevenZipFile(file, "w", filters=[{"id": py7zr.FILTER_COPY}]) as archive:
        for i, name in enumerate(contents or NAMES):
            archive.writestr((contents or {}).get(name) or wav(i), f"{folder}/{name}" if folder else name)
    return file.getvalue()


as_published = functools.cache(sounds_7z)  # the same bytes in every version and test


def corenlp(names=SPICE_JARS) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in (*names, "README.txt"):
            archive.writestr(f"stanford-corenlp-full-2015-12-09/{name}", name.encode() * 100)
    return file.getvalue()
