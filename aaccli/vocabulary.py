"""Captions as words and words as ids."""

from __future__ import annotations

import re
import reprlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import CheckpointError
from .files.jsonfile import read_json, write_json
from .limits import MAX_WORD_LENGTH, MAX_WORDS
from .model.captioner import END, PAD, START, UNKNOWN

SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")  # at ids PAD, START, END, UNKNOWN
assert [SPECIAL.index(s) for s in SPECIAL] == [PAD, START, END, UNKNOWN]

# Letters and digits; apostrophes and hyphens only inside a word.
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def words_of(caption: str) -> list[str]:
    """The words of a caption: lower case, no punctuation.

    >>> words_of("A dog's bark, far-off -- then 'silence'.")
    ['a', "dog's", 'bark', 'far-off', 'then', 'silence']
    """
    text = unicodedata.normalize("NFC", caption).lower()
    return WORD.findall(text.replace("’", "'").replace("\N{NON-BREAKING HYPHEN}", "-"))


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model can say."""

    words: tuple[str, ...]  # without the special ones, by count, then by the alphabet

    def __post_init__(self) -> None:
        ids = {word: i for i, word in enumerate(self.words, start=len(SPECIAL))}
        if len(ids) != len(self.words):
            raise ValueError("a word occurs twice")
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int = 1) -> Vocabulary:
        """Take the words that occur at least ``min_count`` times in the captions, as far as ``load`` takes them back.

        Without the longest, as a script that has no spaces makes them, and the rarest of more than any model needs.
        """
        counts = Counter(word for caption in captions for word in words_of(caption))
        kept = [word for word, count in counts.items() if count >= min_count and len(word) <= MAX_WORD_LENGTH]
        return cls(tuple(sorted(kept, key=lambda word: (-counts[word], word))[:MAX_WORDS]))

    def extended(self, other: Vocabulary) -> Vocabulary:
        """These words at the ids they have, then the other's new ones."""
        return Vocabulary((*self.words, *(word for word in other.words if word not in self.words)))

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.words)

    def encode(self, caption: str) -> list[int]:
        """A caption's ids from START to END."""
        ids: dict[str, int] = self._ids  # type: ignore[attr-defined]
        return [START, *(ids.get(word, UNKNOWN) for word in words_of(caption)), END]

    def decode(self, ids: Sequence[int]) -> str:
        """The caption of ids; padding, START and END are left out."""
        return " ".join(
            SPECIAL[UNKNOWN] if i == UNKNOWN else self.words[i - len(SPECIAL)]
            for i in ids
            if i not in (PAD, START, END)
        )

    def save(self, path: Path) -> None:
        write_json(path, {"special": SPECIAL, "words": self.words})

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Raises CheckpointError where the file is not a vocabulary."""
        data = read_json(path)
        words = data.get("words") if isinstance(data, dict) else None
        if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
            raise CheckpointError(f"{path}: not a vocabulary (a list 'words' was expected)")
        if data.get("special") != list(SPECIAL):
            raise CheckpointError(
                f"{path}: special words are {reprlib.repr(data.get('special'))}, {list(SPECIAL)} were expected"
            )
        if len(words) > MAX_WORDS:
            raise CheckpointError(f"{path}: {len(words):,} words, over {MAX_WORDS:,}")
        for word in words:  # captions are printed: what is no word might be a command to the terminal
            if len(word) > MAX_WORD_LENGTH or not WORD.fullmatch(word):
                raise CheckpointError(f"{path}: {reprlib.repr(word)} is not a word")
        try:
            return cls(tuple(words))
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
