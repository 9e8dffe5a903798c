"""Fetch one file: resumed, retried, checked while it comes, and moved into place only when it is whole.

``FILE.part`` beside the target holds what has come so far. Nothing reads it but the next try, and nothing trusts it:
the checksum decides over the whole file. Libraries that keep files in a cache (pooch 1.9) cannot go on where a
connection broke, which matters for gigabytes; so this is ours, over HTTPX.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

import filelock
import httpx2

from .. import __version__
from ..errors import FetchError
from ..files.wholefile import REMEDIES, beside
from ..watching import Progress, Watch, nobody
from .assets import Asset, Item

TRIES = 5  # in a row that bring next to nothing, then it is given up
TRIES_UNREACHED = 3  # where nobody even answers: most likely there is no network, and the user waits
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds between tries; doubles
ENOUGH = 1 << 20  # bytes: a try that brought as many does not count as failed
TIMEOUT = httpx2.Timeout(30.0, connect=10.0)  # seconds without a byte
SLOW_SECONDS, SLOW_BYTES = 60.0, 60_000  # as few bytes in as many seconds: a dead connection that does not say so
PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
MOST = 2  # times the size that is only known about
CHUNK = 1 << 20


def is_offline() -> bool:
    """Whether the user asked for no network, by the variable that all tools of the Hub share."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def fetch(item: Item, asset: Asset, target: Path, watch: Watch = nobody) -> Path:
    """Bring a file to ``target``, whole and checked, or not at all.

    What is there already and matches its checksum is kept. Two processes may ask for the same file: one fetches it,
    the other waits.

    Raises
    ------
    FetchError
        It cannot be had or kept; the message says what was tried and how to place the file by hand.
    """
    with kept_in(target.parent):
        if is_whole(asset, target, watch):
            return target
    if is_offline():
        raise FetchError(f"{asset.file} is not here, and HF_HUB_OFFLINE forbids the network; {item.by_hand(asset)}")
    with _making(target, watch) as part_path:
        if is_whole(asset, target, watch):  # the other process was faster
            return target
        try:
            with _Part(part_path, asset, watch) as part:
                _bring(asset, part)
        except _GivenUpError as why:
            kept = part_path.stat().st_size if part_path.exists() else 0
            there = f" {kept:,} bytes are kept, the next run goes on from there." if kept else ""
            raise FetchError(f"{asset.file} could not be fetched: {why}.{there} Or {item.by_hand(asset)}") from why
        part_path.replace(target)
    return target


def adopt(item: Item, asset: Asset, source: Path, target: Path, watch: Watch = nobody) -> Path:
    """Take a file that the user brought: checked the same way, copied to ``target``.

    Raises
    ------
    FetchError
        It is missing, not the right one, or cannot be kept.
    """
    try:
        file = source.open("rb")
    except OSError as error:
        raise FetchError(f"{source}: {error.strerror}; {item.by_hand(asset)}") from error
    with file, _making(target, watch) as part_path:
        part_path.unlink(missing_ok=True)
        try:
            _check_room(part_path, source.stat().st_size)
            with _Part(part_path, asset, watch) as part:
                for chunk in _chunks(file, source):
                    part.write(chunk, source.stat().st_size)
                problem = part.problem()
        except _GivenUpError as why:
            part_path.unlink(missing_ok=True)
            raise FetchError(f"{source}: {why}") from why
        if problem:
            part_path.unlink()
            raise FetchError(f"{source} is not {asset.file}: {problem}; {item.by_hand(asset)}")
        part_path.replace(target)
    return target


def _chunks(file: BinaryIO, source: Path) -> Iterator[bytes]:
    """What a file holds; that it cannot be read is no fault of the disk that it is copied to."""
    while True:
        try:
            chunk = file.read(CHUNK)
        except OSError as error:
            raise FetchError(f"{source}: {error.strerror}") from error
        if not chunk:
            return
        yield chunk


def is_whole(asset: Asset, path: Path, watch: Watch = nobody) -> bool:
    """Whether a file is there with the asset's checksums; without known ones, whether it is there."""
    if not path.is_file() or (asset.exact and path.stat().st_size != asset.size):
        return False
    return all(digest(path, name, watch) == value for name, value in asset.checksums.items())


def digest(path: Path, algorithm: str, watch: Watch = nobody) -> str:
    """Checksum of a file, in hexadecimal."""
    hashed, done, total = hashlib.new(algorithm, usedforsecurity=False), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hashed.update(chunk)
            done += len(chunk)
            watch(Progress(path.name, done, total, "checking"))
    return hashed.hexdigest()


@contextmanager
def locked(path: Path, watch: Watch = nobody) -> Iterator[None]:
    """Hold what is at ``path`` for this process; one that was killed holds nothing.

    Raises
    ------
    FetchError
        The folder cannot be written to.
    """
    lock = filelock.FileLock(beside(path, ".lock"))
    with kept_in(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            watch(Progress(path.name, 0, None, "waiting for another aac that is at it"))
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _making(target: Path, watch: Watch) -> Iterator[Path]:
    """Where to gather a file before it is moved to ``target``; what the disk refuses becomes a FetchError."""
    with locked(target, watch), kept_in(target.parent):
        yield target.with_name(target.name + ".part")


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """What the disk of a folder refuses is a FetchError that says what to do."""
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, "make it writable")
        raise FetchError(
            f"{folder}: {error.strerror or error}; {remedy}, or choose another place: AAC_CACHE=FOLDER, "
            "--cache-dir FOLDER"
        ) from error


class _GivenUpError(Exception):
    """No further try will help; says why."""


class _PassingError(Exception):
    """Another try may help; says what happened."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait  # seconds that the server asks for


class _Part:
    """A file in the making: what was there is hashed once, what comes is hashed as it comes."""

    def __init__(self, path: Path, asset: Asset, watch: Watch) -> None:
        self.asset, self.watch, self.path = asset, watch, path
        self.file: IO[bytes] = path.open("r+b" if path.exists() else "w+b")
        self._fresh_hashes()
        while chunk := self.file.read(CHUNK):
            self._hash(chunk)
        self.taken_up = self.size > 0  # some of it may be of another time, or another file

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.file.flush()
            os.fsync(self.file.fileno())  # the name must not reach the disk before the bytes
        finally:
            self.file.close()

    def write(self, chunk: bytes, total: int | None) -> None:
        self.file.write(chunk)
        self._hash(chunk)
        self.watch(Progress(self.asset.file, self.size, total))

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self._fresh_hashes()
        self.taken_up = False

    def problem(self) -> str:
        """What is wrong with it as a whole; empty: nothing."""
        if self.asset.exact and self.size != self.asset.size:
            return f"{self.size:,} bytes, {self.asset.size:,} were expected"
        for name, value in self.asset.checksums.items():
            if (found := self.hashes[name].hexdigest()) != value:
                return f"{name} {found}, {value} was expected"
        return ""

    def _fresh_hashes(self) -> None:
        self.size = 0
        self.hashes = {name: hashlib.new(name, usedforsecurity=False) for name in self.asset.checksums}

    def _hash(self, chunk: bytes) -> None:
        self.size += len(chunk)
        for hashed in self.hashes.values():
            hashed.update(chunk)


def _bring(asset: Asset, part: _Part) -> None:
    """Try until the part is whole; raises _GivenUpError."""
    failures, wait, last = 0, FIRST_WAIT, ""
    with httpx2.Client(follow_redirects=True, timeout=TIMEOUT, headers=_headers()) as client:
        while True:
            had, most = part.size, TRIES
            try:
                if not (asset.exact and part.size == asset.size):
                    _one_try(client, asset, part)
                problem = part.problem()
                if not problem:
                    return
                again = part.taken_up
                part.restart()
                if not again:
                    raise _GivenUpError(f"what came is not the file: {problem}. Nothing of it was kept")
                raise _PassingError(f"what was kept of an earlier try did not fit ({problem})")
            except _PassingError as error:
                failures, last, asked = failures + 1, str(error), error.wait
            except httpx2.TransportError as error:  # refused, unknown host, cut, silent
                failures, last, asked = failures + 1, str(error) or type(error).__name__, 0.0
                most = TRIES_UNREACHED if isinstance(error, httpx2.ConnectError) and not part.size else TRIES
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:  # redirects without end, among others
                raise _GivenUpError(f"{asset.url}: {error}") from error
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    part.restart()  # a full disk helps nobody
                raise
            if part.size - had >= ENOUGH:
                failures, wait = 1, FIRST_WAIT
            if failures >= most:
                raise _GivenUpError(f"{asset.url} was tried {failures} times, last: {last}")
            seconds = min(max(wait, asked), LONGEST_WAIT)
            part.watch(Progress(asset.file, part.size, asset.size, f"{last}; try {failures + 1} of {most} follows"))
            time.sleep(seconds)
            wait *= 2


def _headers() -> dict[str, str]:
    # Compressed on the way, ranges would count other bytes.
    return {"User-Agent": f"aac/{__version__}", "Accept-Encoding": "identity"}


def _one_try(client: httpx2.Client, asset: Asset, part: _Part) -> None:
    """Ask for what is missing and append it."""
    headers = {"Range": f"bytes={part.size}-"} if part.size else {}
    with client.stream("GET", asset.url, headers=headers) as response:
        total = _accept(response, asset, part)
        _check_room(part.path, (total or asset.size) - part.size)
        limit = total or MOST * asset.size
        began, came = time.monotonic(), 0
        for chunk in response.iter_raw():
            part.write(chunk, total)
            came += len(chunk)
            if part.size > limit:
                part.restart()
                raise _GivenUpError(f"{asset.url} sends more than the {limit:,} bytes of {asset.file}")
            if (now := time.monotonic()) - began > SLOW_SECONDS:
                if came < SLOW_BYTES:
                    raise _PassingError(f"only {came:,} bytes in {now - began:.0f} s")
                began, came = now, 0
    if total and part.size < total:
        raise _PassingError(f"the connection broke after {part.size:,} of {total:,} bytes")


def _accept(response: httpx2.Response, asset: Asset, part: _Part) -> int | None:
    """Judge the answer's head; returns the size of the whole file where it is told."""
    status, host = response.status_code, response.url.host
    told = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    whole = int(told[2]) if told and told[2] != "*" else None
    plain = [hop.url for hop in (*response.history, response) if hop.url.scheme != "https"]
    if asset.url.startswith("https:") and plain:
        raise _GivenUpError(f"{asset.url} leads to {plain[0]}, which is not encrypted")
    if status == 416 and whole == part.size:
        return whole  # all of it was there
    if status == 416 or (status == 206 and (not told or told[1] is None or int(told[1]) != part.size)):
        part.restart()
        raise _PassingError(f"{host} sent another part than was asked for")
    if status in PASSING_STATUS:
        asked = response.headers.get("Retry-After", "")
        raise _PassingError(f"{host} answered {status}", float(asked) if asked.isdecimal() else 0.0)
    if status not in (200, 206):
        raise _GivenUpError(f"{response.url} answered {status} {response.reason_phrase}")
    if status == 200:
        if part.size:
            part.restart()  # the server cannot send a part
        length = response.headers.get("Content-Length", "")
        whole = int(length) if length.isdecimal() else None
    if whole is not None and (whole != asset.size if asset.exact else whole > MOST * asset.size):
        kind, about = response.headers.get("Content-Type", "no type"), "" if asset.exact else "about "
        raise _GivenUpError(f"{response.url} offers {whole:,} bytes ({kind}), the file has {about}{asset.size:,}")
    return whole


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise _GivenUpError(
            f"{path.parent} has {free:,} bytes free, {needed:,} are needed; free some room, "
            "or choose another place: AAC_CACHE=FOLDER, --cache-dir FOLDER"
        )
