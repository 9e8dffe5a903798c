"""The phrase book: how sentences speak of each label."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import DataError


@dataclass(frozen=True)
class Phrase:
    """One way to say a sound."""

    subject: str  # "a dog"
    verb: str  # "barks", agreeing with the subject
    ing: str  # "barking", for "with a dog barking" and "followed by a dog barking"


@dataclass(frozen=True)
class Entry:
    """What the book knows of a label."""

    label: str
    phrases: tuple[Phrase, ...]
    continuous: bool = False  # goes on while it lasts (rain), rather than single events that may repeat (a bark)
    background: bool = False  # may lie under other sounds
    also: tuple[str, ...] = ()  # other labels for the same sound


class PhraseBook:
    """Entries by label; a label it lacks is spoken of by its name."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = {entry.label: entry for entry in entries}
        self._canonical = {label: label for label in self.entries}
        for entry in entries:
            for other in entry.also:
                if self._canonical.setdefault(other, entry.label) != entry.label:
                    raise DataError(f"{other} is also {entry.label} and {self._canonical[other]}")

    def canonical(self, label: str) -> str:
        """The label under which the book speaks of this one; the label itself if it lacks it."""
        return self._canonical.get(label, label)

    def knows(self, label: str) -> bool:
        return label in self._canonical

    def entry(self, label: str) -> Entry:
        return self.entries.get(self.canonical(label)) or by_name(label)


def by_name(label: str) -> Entry:
    """Speak of a label that no book knows."""
    name = " ".join(label.replace("_", " ").replace("-", " ").split())
    phrases = (
        Phrase(name, "is heard", "being heard"),
        Phrase(name, "can be heard", "being heard"),
        Phrase(name, "sounds", "sounding"),
    )
    return Entry(label, phrases)


def load_phrases(path: Path | None = None) -> PhraseBook:
    """Read a phrase book, TOML or JSON by its suffix; without a path, the one that comes with aac.

    Raises
    ------
    DataError
        The file cannot be read, or an entry is not as it should be; the message names the label.
    """
    source = path or resources.files(__package__) / "phrases.toml"
    try:
        text = source.read_text(encoding="utf-8")
        table = json.loads(text) if source.name.lower().endswith(".json") else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{source}: cannot be read as a phrase book ({error})") from error
    if not isinstance(table, dict):
        raise DataError(f"{source}: a table of labels was expected")
    try:
        return PhraseBook([_entry(label, fields) for label, fields in table.items()])
    except DataError as error:
        raise DataError(f"{source}: {error}") from error


def _says_something(part: Any) -> bool:
    return isinstance(part, str) and any(map(str.isalnum, part))


def _entry(label: str, fields: Any) -> Entry:
    if not isinstance(fields, dict):
        raise DataError(f"{label}: a table was expected")
    unknown = sorted(set(fields) - {"continuous", "background", "also", "phrases"})
    if unknown:
        raise DataError(f"{label}: unknown field {', '.join(unknown)}")
    phrases = fields.get("phrases")
    if not isinstance(phrases, list) or not phrases:
        raise DataError(f"{label}: phrases is missing or empty")
    for phrase in phrases:
        if not (isinstance(phrase, list) and len(phrase) == 3 and all(map(_says_something, phrase))):
            raise DataError(f'{label}: a phrase is ["a dog", "barks", "barking"], not {phrase!r}')
    for name in ("continuous", "background"):
        if not isinstance(fields.get(name, False), bool):
            raise DataError(f"{label}: {name} is true or false")
    also = fields.get("also", [])
    if not isinstance(also, list) or not all(isinstance(other, str) and other for other in also):
        raise DataError(f"{label}: also is a list of labels")
    return Entry(
        label,
        tuple(Phrase(*phrase) for phrase in phrases),
        fields.get("continuous", False),
        fields.get("background", False),
        tuple(also),
    )
