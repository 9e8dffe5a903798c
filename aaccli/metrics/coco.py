"""BLEU, ROUGE-L and CIDEr-D, by pycocoevalcap's code in Python."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from .result import Numbers, Score, mean_score

ORDERS = 4  # n-grams of BLEU
# What BleuScorer adds to counts, so that none is divided by zero.
TINY, SMALL = 1e-15, 1e-9


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Score]:
    """BLEU-1 to BLEU-4 (Papineni et al., 2002) with the closest reference's length, of captions as tokens.

    Parameters
    ----------
    candidates : sequence of str
        One a clip, tokens separated by blanks.
    references : sequence of sequences of str
        One or more a clip.
    """
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=ORDERS)
    for candidate, those in zip(candidates, references, strict=True):
        scorer += (candidate, list(those))
    _, clips = scorer.compute_score(option="closest")
    lengths = [len(candidate.split()) for candidate in candidates]
    closest = [
        min((abs(r - n), r) for r in counts["reflen"])[1] for counts, n in zip(scorer.ctest, lengths, strict=True)
    ]
    counts = [c["correct"] + c["guess"] for c in scorer.ctest]
    totals = np.column_stack([counts, lengths, closest]).astype(np.float64)
    return {
        f"bleu_{n}": Score(np.array(clips[n - 1]), totals, partial(_bleu_of_totals, n=n)) for n in range(1, ORDERS + 1)
    }


def _bleu_of_totals(totals: Numbers, n: int) -> Numbers:
    """BLEU-n of totals (..., 10): matches and n-grams by order, length, length of the closest references."""
    correct, guess = totals[..., :n], totals[..., ORDERS : ORDERS + n]
    length, closest = totals[..., -2], totals[..., -1]
    precision = np.prod((correct + TINY) / (guess + SMALL), axis=-1) ** (1 / n)
    ratio = (length + TINY) / (closest + SMALL)
    return precision * np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
    """ROUGE-L (Lin, 2004), beta 1.2, best precision and best recall over references; parameters as in ``bleu``."""
    from pycocoevalcap.rouge.rouge import Rouge

    rouge = Rouge()
    scores = [rouge.calc_score([c], list(those)) for c, those in zip(candidates, references, strict=True)]
    return mean_score(np.array(scores, np.float64))


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
    """CIDEr-D (Vedantam, Zitnick and Parikh, 2015); parameters as in ``bleu``.

    The weights of n-grams come from the references of all clips. They stay what they are when clips are drawn anew
    for an interval.
    """
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    scorer = CiderScorer()
    for candidate, those in zip(candidates, references, strict=True):
        scorer += (candidate, list(those))
    return mean_score(np.array(scorer.compute_score()[1], np.float64))


def spider(cider: Score, spice: Score) -> Score:
    """SPIDEr (Liu et al., 2017): the mean of CIDEr-D and SPICE."""
    return mean_score((cider.clips + spice.clips) / 2)
