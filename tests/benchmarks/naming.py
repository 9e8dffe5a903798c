"""Whether a caption names a labelled sound, by the patterns of accepted_words.toml; its header tells their syntax."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

WORD = re.compile(r"(?:[^\W\d_]|['-])+")  # letters, apostrophes and hyphens
ACCEPTED: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("accepted_words.toml").read_text("utf-8"))


def names(caption: str, label: str) -> bool:
    """Whether a caption names the sound of a label; KeyError where the label has no accepted words."""
    words = plain(caption)
    return any(all(has(words, part) for part in pattern.split("+")) for pattern in ACCEPTED[label])


def named(caption: str) -> set[str]:
    """All labels that a caption names."""
    return {label for label in ACCEPTED if names(caption, label)}


def plain(caption: str) -> str:
    """The words of a caption, lower case, one space between them."""
    return " ".join(WORD.findall(caption.lower().replace("’", "'")))


def has(words: str, part: str) -> bool:
    """Whether plain words hold a part of a pattern: ``word``, ``word*`` or several of them in a row."""
    return _expression(part).search(words) is not None


@cache
def _expression(part: str) -> re.Pattern[str]:
    """One or more words in a row, as an expression over words with single spaces between them."""
    words = [re.escape(word.removesuffix("*")) + r"\S*" * word.endswith("*") for word in part.split()]
    return re.compile(r"(?<!\S)" + " ".join(words) + r"(?!\S)")
