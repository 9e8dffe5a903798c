"""Where models and data sets of evaluations are looked for."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

SPICE_JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


def cache_folder() -> Path:
    """``AAC_CACHE``, else the folder that the system has for caches."""
    return Path(os.environ.get("AAC_CACHE") or platformdirs.user_cache_dir("aac"))


def spice_models() -> Path | None:
    """Folder that holds both jars of SPICE's models, where they were fetched."""
    folder = cache_folder() / "spice"
    return folder if all((folder / jar).is_file() for jar in SPICE_JARS) else None


def clotho_folders() -> list[Path]:
    """Folders where Clotho is looked for when none is named: that of ``AAC_CLOTHO`` alone, or ./data and the cache."""
    named = os.environ.get("AAC_CLOTHO")
    return [Path(named)] if named else [Path("data"), cache_folder() / "clotho"]
