"""Models on the Hugging Face Hub: ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.

They are kept where all tools of the Hub keep them (HF_HOME, HF_HUB_CACHE), so HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE
mean here what they mean everywhere. The cache is looked at first: a model that is there needs no network.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    CacheNotFound,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils import tqdm

from .. import __version__
from ..errors import CheckpointError, FetchError
from ..files.jsonfile import read_json
from ..files.wholefile import REMEDIES
from ..limits import MAX_JSON_BYTES, MAX_WEIGHTS_BYTES
from ..watching import Progress, Watch, nobody
from .download import digest

NEEDED = ("config.json", "vocabulary.json", "model.safetensors")
FILES = (*NEEDED, "README.md")  # nothing else is ever fetched
FORMAT = "aac-captioner"
SECONDS = 10.0  # for the Hub's first answer


@dataclass(frozen=True)
class HubName:
    """A model on the Hub."""

    repo: str
    revision: str | None = None  # branch, tag or commit; None: the main branch

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def hub_name(text: str) -> HubName | None:
    """Read ``OWNER/NAME[@REVISION]``; None where the text is not of that form.

    >>> hub_name("someone/tiny-captioner@v1")
    HubName(repo='someone/tiny-captioner', revision='v1')
    >>> hub_name("runs/clotho/best"), hub_name("/tmp/x"), hub_name("./x"), hub_name("best")
    (None, None, None, None)
    """
    match = re.fullmatch(r"(\w[\w.-]*/\w[\w.-]*)(?:@([\w./-]+))?", text, re.ASCII)
    return HubName(match[1], match[2]) if match else None


@dataclass(frozen=True)
class HubFile:
    """A file of a model on the Hub."""

    name: str
    size: int  # bytes


def find(name: HubName, watch: Watch = nobody) -> Path:
    """The folder of a model: from the cache, else from the network.

    Raises
    ------
    FetchError
        It is not in the cache and cannot be had from the Hub.
    CheckpointError
        The repository is no model of aac; says what is missing.
    """
    return in_cache(name) or fetch(name, watch)


def in_cache(name: HubName) -> Path | None:
    """The folder of a model that is whole in the cache; asks no network."""
    try:
        paths = [try_to_load_from_cache(name.repo, file, revision=name.revision) for file in NEEDED]
    except (ValueError, OSError):
        return None
    if not all(isinstance(path, str) and Path(path).is_file() for path in paths):
        return None
    return Path(str(paths[0])).parent


def files_of(name: HubName) -> list[HubFile]:
    """What would be fetched: asks the Hub.

    Raises
    ------
    FetchError, CheckpointError
        As ``find`` does.
    """
    return _wanted(name, _ask(name))


def fetch(name: HubName, watch: Watch = nobody) -> Path:
    """Bring the Hub's present state of a model into the cache; raises as ``find`` does."""
    info = _ask(name)
    wanted = _wanted(name, info)
    origin: dict[str, Any] = {"library_name": "aac", "library_version": __version__}
    try:
        # First the file that tells whether the others are worth having.
        config = read_json(
            Path(hf_hub_download(name.repo, "config.json", revision=info.sha, tqdm_class=_silent, **origin))
        )
        kind = config.get("format") if isinstance(config, dict) else None
        if kind != FORMAT:
            raise CheckpointError(f"{name} is no captioner of aac: the format of its config.json is {kind!r:.60}")
        bars = _bars(watch, str(name), sum(file.size for file in wanted))
        for file in wanted:  # here and not in snapshot_download's threads, which Ctrl-C would wait for
            hf_hub_download(name.repo, file.name, revision=info.sha, tqdm_class=bars, **origin)
        folder = Path(
            snapshot_download(
                name.repo,
                revision=name.revision,
                allow_patterns=list(FILES),
                tqdm_class=_silent,
                max_workers=1,
                **origin,
            )
        )
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        raise FetchError(_why(name, error)) from error
    _check(folder)
    return folder


def _ask(name: HubName) -> ModelInfo:
    try:
        api = HfApi(library_name="aac", library_version=__version__)
        return api.model_info(name.repo, revision=name.revision, files_metadata=True, timeout=SECONDS)
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        raise FetchError(_why(name, error)) from error


def _wanted(name: HubName, info: ModelInfo) -> list[HubFile]:
    """The files to fetch; raises CheckpointError where needed ones are missing or absurdly large."""
    there = {s.rfilename: HubFile(s.rfilename, s.size or 0) for s in info.siblings or () if s.rfilename in FILES}
    missing = [file for file in NEEDED if file not in there]
    if missing:
        raise CheckpointError(f"{name} is no model of aac: it has no {', no '.join(missing)}")
    for file in there.values():
        most = MAX_WEIGHTS_BYTES if file.name == "model.safetensors" else MAX_JSON_BYTES
        if file.size > most:
            raise CheckpointError(f"{name} is no model of aac: its {file.name} has {file.size:,} bytes, over {most:,}")
    return [there[file] for file in FILES if file in there]


def _why(name: HubName, error: Exception) -> str:
    """What went wrong, and what to type next."""
    endpoint = constants.ENDPOINT
    local = "" if name.revision else f"; there is no folder {name} here either"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{name} is not in the cache ({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE forbids the network{local}"
    if isinstance(error, RevisionNotFoundError):
        return f"{name}: {name.repo} has no revision {name.revision}; see {endpoint}/{name.repo}"
    if isinstance(error, GatedRepoError):
        return f"{name} wants its terms accepted first: {endpoint}/{name.repo}; then type: hf auth login"
    if isinstance(error, RepositoryNotFoundError):
        return f"{name}: {endpoint} has no such model, or it is private (then type: hf auth login){local}"
    if isinstance(error, OSError) and error.errno in REMEDIES:
        kept = f"{name} cannot be kept in {constants.HF_HUB_CACHE} ({error.strerror})"
        return f"{kept}; {REMEDIES[error.errno]}, or choose another place: HF_HOME=FOLDER"
    if isinstance(error, HFValidationError):
        return f"{name}: not a name that the Hub knows ({error}){local}"
    if isinstance(error, httpx2.HTTPError) and not isinstance(error, HfHubHTTPError):
        what = str(error) or type(error).__name__
        return (
            f"{name} is not in the cache ({constants.HF_HUB_CACHE}), and {endpoint} cannot be reached ({what}){local}. "
            f"On a machine that has a network, type: aac download {name}; then copy its HF_HOME"
        )
    return f"{name} could not be fetched from {endpoint}: {str(error).strip() or type(error).__name__}"


def _check(folder: Path) -> None:
    """Hold files against their checksums; what does not fit is removed from the cache."""
    for path in folder.iterdir():
        if path.name in FILES and not matches_its_name(path):
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise FetchError(f"{path.name} came damaged: not what its checksum says. Nothing of it was kept, try again")


def matches_its_name(path: Path) -> bool:
    """Whether a file of the cache has the content that its blob is named after: SHA-256, or git's SHA-1."""
    blob = path.resolve()
    if len(blob.name) == 64:
        return digest(blob, "sha256") == blob.name
    content = blob.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == blob.name


@dataclass(frozen=True)
class Kept:
    """One revision of a model in the cache."""

    name: str
    size: int  # bytes
    folder: Path
    whole: bool  # every file matches its checksum


def kept() -> Iterator[Kept]:
    """The captioners of aac among what the Hub's cache holds."""
    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return
    for repo in sorted(repos, key=lambda r: r.repo_id):
        for revision in sorted(repo.revisions, key=lambda r: r.commit_hash):
            folder = revision.snapshot_path
            if repo.repo_type == "model" and _is_captioner(folder):
                files = [folder / name for name in NEEDED]
                whole = all(file.is_file() and matches_its_name(file) for file in files)
                label = next(iter(sorted(revision.refs)), revision.commit_hash)
                yield Kept(f"{repo.repo_id}@{label}", revision.size_on_disk, folder, whole)


def _is_captioner(folder: Path) -> bool:
    try:
        config = read_json(folder / "config.json")
    except CheckpointError:
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


def remove(name: HubName) -> int:
    """Remove a model, or one revision of it, from the cache; returns the bytes freed.

    Raises
    ------
    FetchError
        It is not there.
    """
    try:
        cache = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound as error:
        raise FetchError(f"{name} is not in the cache ({constants.HF_HUB_CACHE})") from error
    hashes = [
        revision.commit_hash
        for repo in cache.repos
        if repo.repo_id == name.repo and repo.repo_type == "model"
        for revision in repo.revisions
        if name.revision is None or name.revision in revision.refs or revision.commit_hash.startswith(name.revision)
    ]
    if not hashes:
        raise FetchError(f"{name} is not in the cache ({constants.HF_HUB_CACHE})")
    strategy = cache.delete_revisions(*hashes)
    strategy.execute()
    return strategy.expected_freed_size


def _bars(watch: Watch, name: str, total: int) -> type[tqdm]:
    """Progress bars of the Hub's kind, one a file, that draw nothing and tell who watches of all files together."""
    came = 0

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # What comes as chunks of many files is told of twice: as it comes, and as it is put together.
            self.counts = not str(kwargs.get("desc")).endswith("reconstructing file")
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal came
            if self.counts:
                came += int(n or 0)
                watch(Progress(name, came, total))
            return super().update(n)

    return Bar


_silent = _bars(nobody, "", 0)
