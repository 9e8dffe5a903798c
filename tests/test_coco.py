"""BLEU, ROUGE-L, CIDEr-D and SPIDEr against numbers worked out by hand."""

import numpy as np
import pytest
from scored import CANDIDATES, REFERENCES

from aaccli.metrics import coco
from aaccli.metrics.result import mean_score


def test_bleu_of_one_clip_by_hand():
    scores = coco.bleu(["a dog barks loudly"], [["a dog barks", "the dog barks very loudly now"]])
    assert scores["bleu_1"].corpus == pytest.approx(1.0)  # all four words; the closest reference has 3
    assert scores["bleu_2"].corpus == pytest.approx((1.0 * 2 / 3) ** 0.5)
    short = coco.bleu(["a dog"], [["a dog barks loudly"]])["bleu_1"]
    assert short.corpus == pytest.approx(np.exp(1 - 4 / 2))
    longer = coco.bleu(["a dog barks so loud"], [["a dog", "a dog barks so very loud"]])["bleu_1"]
    assert longer.corpus == pytest.approx(np.exp(1 - 6 / 5))  # 6 words are closer to 5 than 2 are


def test_bleu_of_totals_is_the_reference_implementations():
    from pycocoevalcap.bleu.bleu import Bleu

    candidates, references = [*CANDIDATES, ""], [*REFERENCES, ["nothing is said"]]
    gts, res = dict(enumerate(references)), {i: [c] for i, c in enumerate(candidates)}
    expected, clips = Bleu(4).compute_score(gts, res, verbose=0)
    scores = coco.bleu(candidates, references)
    for n in range(4):
        score = scores[f"bleu_{n + 1}"]
        assert score.corpus == pytest.approx(expected[n], abs=1e-12)
        assert score.of_totals(score.totals) == pytest.approx(clips[n], abs=1e-12)
        assert score.clips.tolist() == clips[n]


def test_rouge_l_by_hand():
    # Longest common subsequence "a dog": precision 2/3, recall 2/4, beta 1.2.
    score = coco.rouge_l(["a dog barks"], [["a loud dog howls"]])
    precision, recall = 2 / 3, 2 / 4
    assert score.corpus == pytest.approx((1 + 1.44) * precision * recall / (recall + 1.44 * precision))


def test_cider_d_by_hand():
    # Two clips, so that each word of one clip alone weighs log 2; candidate = reference gives 10 for each
    # order of n-gram there is, here 1 and 2 of 4.
    score = coco.cider_d(["dog barks", "rain"], [["dog barks"], ["wind blows"]])
    assert score.clips == pytest.approx([10 * 2 / 4, 0.0])
    assert score.corpus == pytest.approx(2.5)


def test_spider_is_the_mean_of_both():
    cider, both = mean_score(np.array([1.0, 0.5])), mean_score(np.array([0.2, 0.0]))
    assert coco.spider(cider, both).clips == pytest.approx([0.6, 0.25])
