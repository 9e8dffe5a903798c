"""Scores that others published."""

import json

import pytest

from aaccli.metrics.evaluation import METRICS, evaluate
from aaccli.metrics.reading import pair, read_predictions, read_references


def test_published_scores(real_java, shared):
    """912 captions of CoNeTTE and the scores that its authors published."""
    folder = shared / "eval"
    published = json.loads((folder / "audiocaps_test_expected.json").read_text())
    predictions = read_predictions(folder / "audiocaps_test_predictions.csv")
    pairs = pair(read_references(folder / "audiocaps_test_references.csv"), {"conette": predictions})
    result = evaluate(pairs, [m for m in METRICS if m not in ("spice", "spider")])
    scores = result.systems["conette"].scores
    assert len(result.files) == published["n_files"]
    tolerance = published["tolerance"]
    for name in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "meteor", "cider_d"):
        expected = published["expected"][name]
        assert scores[name].corpus == pytest.approx(expected, abs=tolerance.get(name, tolerance["default"])), name


def test_numbers_of_the_paper_add_up():
    """SPIDEr is the mean of CIDEr and SPICE, but for roundings and three rows of the paper itself."""
    from aaccli.metrics.published import PAPER, PAPER_COLUMNS

    rows = {name: dict(zip(PAPER_COLUMNS, values, strict=True)) for name, values in PAPER.items()}
    off = {
        name for name, r in rows.items() if r["spider"] and abs(r["spider"] - (r["cider_d"] + r["spice"]) / 2) > 1e-3
    }
    assert off == {"Base + PANN", "Base - encoder", "Base + PANN + L2"}
