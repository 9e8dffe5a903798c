"""The model card of a trained captioner: README.md of its folder, and of its page on the Hugging Face Hub."""

from __future__ import annotations

import platform
from typing import Any

import torch

from .. import __version__
from ..config import to_dict, to_toml
from .config import Epoch
from .curves import SCORES
from .settings import Settings, init_name

HEAD = """---
library_name: aac
language: en
tags: [audio-captioning, audio, sound]
---

"""


def render(settings: Settings, about: dict[str, Any], epoch: Epoch, command: str) -> str:
    """The card, markdown.

    Parameters
    ----------
    settings : Settings
    about : dict
        The data, as counts.
    epoch : Epoch
        When the weights were taken, and what they are worth.
    command : str
        As it was typed.
    """
    name = settings.recipe or ("labelled sounds" if settings.data.sounds else "fine-tuned")
    parts = [
        f"{HEAD}# An audio captioner ({name})",
        "Says in one sentence what is heard in a recording: log-mel, CNN10, transformer encoder and decoder, with the "
        "RLSSR regularizer of [Koh, Xue and Chng (2021)](https://arxiv.org/abs/2108.04692). Written by `aac train`; "
        "what it is fit for, who made its data and its licence are for you to add.",
        "```sh\naac caption clip.wav --model DIR-OR-OWNER/NAME\n```",
        "## Data\n\n" + _table(("", ""), [(key.replace("_", " "), _count(value)) for key, value in about.items()]),
        "## Scores\n\n" + _scores(settings, epoch),
        _examples(epoch),
        f"## Training\n\n```sh\n{command}\n```\n\n{_settings(settings)}",
        f"aac {__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"| {a} | {b} |" for a, b in (head, ("---", "---"), *rows))


def _count(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)}: {', '.join(map(str, value))}"
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _scores(settings: Settings, epoch: Epoch) -> str:
    rows = [
        ("epoch", str(epoch.epoch)),
        ("loss", f"{epoch.validation_loss:.4f}"),
        ("cross entropy, nats a word", f"{epoch.validation_cross_entropy:.4f}"),
        *((name, f"{epoch.scores[key]:.3f}") for key, name in SCORES.items() if key in epoch.scores),
    ]
    told = "On the validation clips, by which this epoch was chosen: not a test result."
    if epoch.scores:
        told += (
            f" Beam {settings.decoding.beam_size}; words as aac splits them. `aac evaluate` gives scores as in papers."
        )
    return f"{told}\n\n{_table(('validation', ''), rows)}"


def _examples(epoch: Epoch) -> str:
    if not epoch.examples:
        return ""
    rows = [(_cell(x.caption), _cell(" / ".join(x.references))) for x in epoch.examples]
    return "## Examples\n\nOf validation clips that were not selected.\n\n" + _table(("caption", "references"), rows)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _settings(settings: Settings) -> str:
    """All settings but the places of the data, which are of one machine."""
    data = to_dict(settings)
    del data["data"]
    data["init"] = init_name(settings.init)
    return f"<details><summary>settings</summary>\n\n```toml\n{to_toml(data)}\n```\n\n</details>"
