"""What the words after ``--model`` and ``--init`` mean, as paths on this disk."""

from __future__ import annotations

from pathlib import Path

from ..watching import Watch, nobody


def find_model(name: str | Path, watch: Watch = nobody) -> Path:
    """The folder of a model: a folder here, else ``OWNER/NAME[@REVISION]`` from the Hub, from its cache if it is there.

    Raises
    ------
    FetchError
        The Hub has no such model, or cannot be reached and the model is not in the cache.
    CheckpointError
        The Hub's repository is no model of aac.
    """
    from . import hub

    path = Path(name)
    known = None if path.exists() else hub.hub_name(str(name))
    return hub.find(known, watch) if known else path


def find_init(name: str, watch: Watch = nobody) -> Path | None:
    """What training starts from: ``none``, ``cnn10`` (of PANNs, from the cache or the network), or as ``find_model``.

    A path here may also be a CNN10 file of PANNs or a tagger's folder.

    Raises
    ------
    FetchError
        It is neither here, nor in the cache, nor to be had.
    CheckpointError
        The Hub's repository is no model of aac.
    """
    if name == "none":
        return None
    if name != "cnn10":
        return find_model(name, watch)
    from .cache import cache_folder, cnn10

    return cnn10(cache_folder(), watch=watch)
