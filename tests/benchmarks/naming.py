"""Whether a caption names a labelled sound, by the patterns of accepted_words.toml; its header tells their syntax."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

WORD = re.compile(r"(?:[^\W\d_]|['-])+")  # letters, apostrophes and hyphens
ACCEPTED: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("accepted_words.toml").read_text("utf-8"))

# A horse that snorts is a horse: labels whose own words may name these as well.
KIN: dict[str, set[str]] = {
    "arrow": {"bow"},
    "bass_drum": {"drum", "drum_beat", "tabla"},
    "bell": {"church_bells"},
    "car_door": {"door_closing"},
    "chirping_birds": {"squawking_bird"},
    "church_bells": {"bell"},
    "door_closing": {"car_door"},
    "drum": {"bass_drum", "drum_beat", "tabla"},
    "drum_beat": {"bass_drum", "drum", "music", "tabla"},
    "engine": {"truck"},
    "footsteps_grass": {"footsteps"},
    "footsteps_gravel": {"footsteps"},
    "footsteps_sand": {"footsteps"},
    "footsteps_wood": {"footsteps"},
    "glass_breaking": {"breaking_dishes"},
    "goat": {"sheep"},
    "guitar": {"music"},
    "hammering_metal": {"metal_clanging"},
    "hen": {"farm_animals"},
    "horse": {"horse_galloping", "horse_snorting"},
    "horse_galloping": {"horse", "horse_snorting"},
    "horse_snorting": {"horse", "horse_galloping"},
    "metal_clanging": {"hammering_metal"},
    "rooster": {"farm_animals"},
    "sea_waves": {"lapping_water"},
    "squawking_bird": {"chirping_birds"},
    "synthesizer": {"music"},
    "tabla": {"bass_drum", "drum", "drum_beat"},
    "train_whistle": {"train"},
    "white_noise": {"radio"},
}


def names(caption: str, label: str) -> bool:
    """Whether a caption names the sound of a label; KeyError where the label has no accepted words."""
    words = plain(caption)
    return any(all(has(words, part) for part in pattern.split("+")) for pattern in ACCEPTED[label])


def named(caption: str) -> set[str]:
    """All labels that a caption names."""
    return {label for label in ACCEPTED if names(caption, label)}


def names_only(caption: str, labels: set[str]) -> bool:
    """Whether a caption names all of these labels, and besides their kin no other."""
    return labels <= named(caption) <= labels.union(*(KIN.get(label, ()) for label in labels))


def where(caption: str, label: str) -> int:
    """Where in a caption's plain words the first word of a label stands; past its end where there is none."""
    words = plain(caption)
    parts = [part for pattern in ACCEPTED[label] for part in pattern.split("+")]
    found = [match.start() for part in parts if (match := _expression(part).search(words))]
    return min(found, default=len(words))


def plain(caption: str) -> str:
    """The words of a caption, lower case, one space between them."""
    return " ".join(WORD.findall(caption.lower().replace("’", "'")))


def has(words: str, part: str) -> bool:
    """Whether plain words hold a part of a pattern: ``word``, ``word*`` or several of them in a row."""
    # A search for the first letters is much cheaper than one by an expression, and mostly enough.
    return part.partition("*")[0] in words and _expression(part).search(words) is not None


@cache
def _expression(part: str) -> re.Pattern[str]:
    """One or more words in a row, as an expression over words with single spaces between them."""
    words = [re.escape(word.removesuffix("*")) + r"\S*" * word.endswith("*") for word in part.split()]
    return re.compile(r"(?<!\S)" + " ".join(words) + r"(?!\S)")
