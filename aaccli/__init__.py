"""Sound in, sentence out.

>>> from aaccli import Captioner  # doctest: +SKIP
>>> for caption in Captioner.load().caption(["clip.wav"]):  # doctest: +SKIP
...     print(caption.caption)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .captioning import Caption, Captioner

__version__ = "0.1.0"
__all__ = ["Caption", "Captioner", "__version__"]


def __getattr__(name: str) -> object:
    # On first use, so that importing aaccli (and aac --help) does not import torch.
    if name in ("Caption", "Captioner"):
        from . import captioning

        return getattr(captioning, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
