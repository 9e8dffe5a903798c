"""The cache: where it is, what it holds, and whether that is what it should be.

``AAC_CACHE``, else the system's cache folder. Each item has a folder of its own there. Models of the Hub are kept where
all tools of the Hub keep them, see hub.py.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ..errors import FetchError
from ..watching import Watch, nobody
from .archives import NoRoomError, staged, unpack_from_zip
from .assets import CACHED, CNN10, SPICE, SPICE_JARS, Cached
from .download import adopt, digest, fetch, is_whole, kept_in, locked

SUMS = "SHA256SUMS"  # of what was unpacked: for what has no published checksum


def cache_folder(given: Path | None = None) -> Path:
    """The folder of the cache: ``given``, else AAC_CACHE, else the system's place for caches.

    Raises
    ------
    FetchError
        The user has no home folder, as in some containers. (Where all may write, others could have put files.)
    """
    try:
        if given or os.environ.get("AAC_CACHE"):
            return (given or Path(os.environ["AAC_CACHE"])).expanduser().absolute()
        return platformdirs.user_cache_path("aac", appauthor=False)
    except RuntimeError as error:
        raise FetchError("this user has no home folder; say where to keep files: AAC_CACHE=FOLDER") from error


def cnn10(cache: Path, source: Path | None = None, watch: Watch = nobody) -> Path:
    """The file of PANNs' CNN10, fetched if need be, or taken from ``source``; raises FetchError."""
    (asset,) = CNN10.files
    target = CACHED["cnn10"].folder(cache) / asset.file
    return adopt(CNN10, asset, source, target, watch) if source else fetch(CNN10, asset, target, watch)


def spice(cache: Path, source: Path | None = None, watch: Watch = nobody) -> Path:
    """The folder of SPICE's jars, fetched and unpacked if need be, or from the zip ``source``; raises FetchError."""
    (asset,) = SPICE.files
    folder = CACHED["spice"].folder(cache)
    if spice_jars(cache) and not source:
        return folder
    archive = cache / asset.file
    if not source:
        fetch(SPICE, asset, archive, watch)
    with locked(folder, watch), kept_in(folder):
        if source is None and spice_jars(cache):
            archive.unlink(missing_ok=True)
            return folder
        try:
            with staged(folder) as fresh:
                unpack_from_zip(source or archive, SPICE_JARS, fresh, watch)
                sums = "".join(f"{digest(fresh / jar, 'sha256')}  {jar}\n" for jar in SPICE_JARS)
                (fresh / SUMS).write_text(sums, encoding="utf-8")
        except NoRoomError:
            raise  # what was fetched is kept until there is some
        except FetchError:
            archive.unlink(missing_ok=True)  # damaged: the next run must not take it for whole
            raise
        archive.unlink(missing_ok=True)
    return folder


def spice_jars(cache: Path | None = None) -> Path | None:
    """The folder that holds the jars SPICE needs, or None where ``aac download spice`` has not been run."""
    try:
        folder = CACHED["spice"].folder(cache or cache_folder())
    except FetchError:  # no folder, nothing in it
        return None
    # Not by Path, which raises where a folder may not be entered: the scores that need no cache shall be had.
    whole = all(os.path.isfile(folder / name) for name in (*SPICE_JARS, SUMS))  # noqa: PTH113
    return folder if whole else None


def clotho_folders() -> list[Path]:
    """Folders where Clotho is looked for when none is named: AAC_CLOTHO alone, or ./data and the cache."""
    named = os.environ.get("AAC_CLOTHO")
    if named:
        return [Path(named)]
    with suppress(FetchError):
        return [Path("data"), cache_folder() / "clotho"]
    return [Path("data")]


@dataclass(frozen=True)
class Holding:
    """What the cache holds under one name."""

    name: str
    size: int  # bytes
    origin: str
    state: str  # of the checksums
    place: Path


def holdings(cache: Path) -> list[Holding]:
    """All that the cache holds; every file is read and held against its checksum."""
    found = []
    for name, cached in CACHED.items():
        folder = cached.folder(cache)
        parts = [*cache.glob(f"{cached.item.files[0].file}*"), *folder.rglob("*")]
        size = sum(path.stat().st_size for path in parts if path.is_file() and not path.name.startswith("."))
        if size:
            found.append(Holding(name, size, cached.item.files[0].url, _state(cached, folder), folder))
    return found


def _state(cached: Cached, folder: Path) -> str:
    if not all((folder / file).is_file() for file in cached.files):
        return "incomplete"
    if cached.item is SPICE:
        sums = (folder / SUMS).read_bytes().splitlines()  # may be damaged too
        same = all(f"{digest(folder / jar, 'sha256')}  {jar}".encode() in sums for jar in SPICE_JARS)
        return "ok (sha256 as unpacked)" if same else "DAMAGED"
    (asset,) = cached.item.files
    return f"ok ({', '.join(asset.checksums)})" if is_whole(asset, folder / asset.file) else "DAMAGED"


def remove(cache: Path, name: str) -> int:
    """Remove an item and what has come of it so far; returns the bytes freed.

    Raises
    ------
    FetchError
        It is not there, or cannot be removed.
    """
    cached = CACHED[name]
    folder = cached.folder(cache)
    there = [held for held in holdings(cache) if held.name == name]
    if not there:
        raise FetchError(f"{name} is not in the cache ({cache})")
    with locked(folder):
        try:
            if folder.exists():
                shutil.rmtree(folder)
            for path in cache.glob(f"{cached.item.files[0].file}*"):
                path.unlink()
        except OSError as error:
            raise FetchError(f"{folder}: {error.strerror or error}") from error
    return there[0].size
