"""Captions to the words that scores count: the Penn Treebank tokenizer of the COCO evaluation, in Java."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import NotInstalledError
from .java import in_package, running

JAR = "tokenizer/stanford-corenlp-3.4.1.jar"
# Tokens that the COCO evaluation leaves out. Its brackets, in capitals, are never met in lower case.
PUNCTUATION = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())
WORD = re.compile(r"\w+(?:['’-]\w+)*")
SECONDS = 300.0  # to start and to tokenize some million words


@dataclass(frozen=True)
class Tokens:
    """Captions and their tokens, separated by blanks."""

    of: dict[str, str]
    method: str  # "ptb", or "regex" where there is no Java
    why: str = ""  # no Java


def tokenize(captions: Iterable[str]) -> Tokens:
    """Tokenize captions, each different one once; where there is no Java by a regular expression.

    The regular expression gives the same tokens for all 5225 captions of Clotho evaluation and other ones for
    222 of 54,059 of AudioCaps: scores over it are not those of the COCO evaluation.

    Raises
    ------
    MetricError
        The tokenizer is missing or failed.
    """
    lines = list(dict.fromkeys(captions))
    jar = in_package(JAR)
    try:
        return Tokens(dict(zip(lines, _ptb(lines, str(jar)), strict=True)), "ptb")
    except NotInstalledError as error:
        return Tokens({line: " ".join(WORD.findall(line.lower())) for line in lines}, "regex", str(error))


def _ptb(lines: list[str], jar: str) -> list[str]:
    """Tokens of each line, by pycocoevalcap's jar."""
    arguments = ("-cp", jar, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase")
    with running("the PTB tokenizer", arguments, SECONDS) as java:
        # A line a caption: what splits lines anywhere becomes a blank.
        java.send([" ".join(line.split()) for line in lines], last=True)
        tokenized = java.read(len(lines))
        java.finish()
    return [" ".join(token for token in line.split(" ") if token and token not in PUNCTUATION) for line in tokenized]
