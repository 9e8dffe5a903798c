"""Which words of a vocabulary a caption says once: "a sheep bleats while a sheep is bleating" tells of one sheep."""

from __future__ import annotations

from ..vocabulary import SPECIAL, Vocabulary

STEM = 4  # letters by which "bleats" and "bleating" are one word; shorter words are their own
# What joins clauses, and who acts: "a person walks while a man speaks, and the man ..." is no repetition.
FREE = frozenset(
    """
    a an the this that its his her their it is are was were be been being has have can there here
    and or while as then before after afterwards followed first next finally again twice times time several over
    of in on at to by with without into onto from for out up down off under through along around near same
    background sound sounds noise noises heard makes make making someone something somebody person people man men woman
    women one two
    """.split()
)


def families(vocabulary: Vocabulary) -> tuple[int, ...]:
    """The family of each id: words of one family are said once. Those of family 0 are free, END among them."""
    numbers: dict[str, int] = {}
    found = [0] * len(SPECIAL)
    for word in vocabulary.words:
        found.append(0 if word in FREE else numbers.setdefault(word[:STEM], len(numbers) + 1))
    return tuple(found)
