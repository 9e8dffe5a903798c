"""Sound in, sentence out.

>>> from aaccli import Captioner  # doctest: +SKIP
>>> captioner = Captioner.from_pretrained()  # doctest: +SKIP
>>> print(captioner.caption("clip.wav").caption)  # doctest: +SKIP
>>> for result in captioner.stream(["a.flac", "street.mp3"]):  # doctest: +SKIP
...     print(result.file, result.caption, result.score, result.error)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .captioning.captioner import Alternative, Caption, Captioner, Window
    from .captioning.windows import Windowing
    from .model.beam import DecodingConfig

__version__ = "0.2.0"
_HOMES = {
    "Alternative": "captioning.captioner",
    "Caption": "captioning.captioner",
    "Captioner": "captioning.captioner",
    "DecodingConfig": "model.beam",
    "Window": "captioning.captioner",
    "Windowing": "captioning.windows",
}
__all__ = ["Alternative", "Caption", "Captioner", "DecodingConfig", "Window", "Windowing", "__version__"]


def __getattr__(name: str) -> object:
    # On first use, so that importing aaccli (and aac --help) does not import torch.
    if name in _HOMES:
        globals()[name] = found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
