"""METEOR 1.5, by the Java program of its authors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from ..errors import MetricError
from .java import Java, in_package, running
from .result import Numbers, Score

JAR = "meteor/meteor-1.5.jar"
SECONDS = 600.0  # to start, which takes most of its time
SECONDS_A_CLIP = 0.2  # allowed; some milliseconds are usual

# The English parameters of METEOR 1.5 (Denkowski and Lavie, 2014), for captions.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGE_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])  # exact, stem, synonym and paraphrase matches

# Where things are among the 23 numbers that it says of a clip; each for the candidate, then for the reference.
LENGTHS, FUNCTION, STAGES, CHUNKS, MATCHED = slice(0, 2), slice(2, 4), slice(4, 20), 20, slice(21, 23)


class Meteor:
    """A started METEOR, which loads its tables while others compute."""

    def __init__(self, java: Java) -> None:
        self.java = java

    def score(self, candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """METEOR of captions as tokens.

        Parameters
        ----------
        candidates : sequence of str
            One a clip, tokens separated by blanks.
        references : sequence of sequences of str
            One or more a clip.

        Raises
        ------
        MetricError
            The program failed.
        """
        fields = zip(references, candidates, strict=True)
        self.java.send([" ||| ".join(["SCORE", *map(_field, those), _field(one)]) for those, one in fields])
        lines = self.java.read(len(candidates))
        # The score of each clip, then the one of all.
        self.java.send([" ||| ".join(["EVAL", *lines])])
        scores = self.java.read(len(candidates) + 1)
        try:
            clips = np.array([float(score) for score in scores[:-1]])
            totals = np.array([[float(number) for number in line.split()] for line in lines])
        except ValueError as error:
            raise MetricError(f"METEOR said what is no score: {error}") from error
        # A candidate that equals a reference is all one chunk and counts none, in sums too.
        whole = (totals[:, MATCHED] == totals[:, LENGTHS]).all(axis=1) & (totals[:, CHUNKS] == 1)
        totals[whole, CHUNKS] = 0
        return Score(clips, totals, of_totals)


def _field(caption: str) -> str:
    """A caption without what separates fields."""
    return " ".join(caption.replace("|||", "").split())


def of_totals(totals: Numbers) -> Numbers:
    """METEOR's formula (Denkowski and Lavie, 2014, section 2) on totals (..., 23).

    They are: words of candidate and reference, function words of both; for each stage the content words and function
    words that match, of candidate and reference in turn; chunks; all matching words of both.
    """
    lengths, function = totals[..., LENGTHS], totals[..., FUNCTION]  # (..., 2): of candidate and reference
    matches = totals[..., STAGES].reshape(*totals.shape[:-1], 4, 2, 2)  # (..., stage, content or function, 2)
    found = np.einsum("s,k,...skj->...j", STAGE_WEIGHTS, [DELTA, 1 - DELTA], matches)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = found / (DELTA * (lengths - function) + (1 - DELTA) * function)
        precision, recall = share[..., 0], share[..., 1]
        mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
        fragments = totals[..., CHUNKS] / totals[..., MATCHED].mean(axis=-1)
    return np.nan_to_num(mean * (1 - GAMMA * fragments**BETA))


@contextmanager
def starting(clips: int) -> Iterator[Meteor]:
    """Start METEOR for about so many captions. Raises MetricError where it cannot be started."""
    arguments = ("-Xmx2G", "-jar", in_package(JAR), "-", "-", "-stdio", "-l", "en", "-norm")
    with running("METEOR", arguments, SECONDS + SECONDS_A_CLIP * clips) as java:
        yield Meteor(java)
