"""METEOR, by its program and by programs that misbehave; and the scores that others published with it."""

import json
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from scored import CANDIDATES, METEOR_PROGRAM, REFERENCES, of

from aaccli.metrics import meteor
from aaccli.metrics.evaluation import METRICS, evaluate
from aaccli.metrics.reading import pair, read_predictions, read_references


@pytest.fixture(scope="module")
def started(real_java) -> Iterator[meteor.Meteor]:
    """The real one, for all: it takes ten seconds to start."""
    with meteor.starting(1000) as started:
        yield started


def test_meteor_of_java(started):
    """The formula on sums gives what the program says; whole matches, none, and nothing said among them."""
    # Of the same stem, synonyms, paraphrases.
    others = {
        "a quickly driver": "a quick driver",
        "an automobile drives": "a car drives",
        "in front of a crowd": "before a crowd",
    }
    candidates = [*CANDIDATES, "xyzzy", "", *others]
    score = started.score(candidates, [*REFERENCES, ["a dog ||| barks"], ["rain"], *([c] for c in others.values())])
    again = started.score(CANDIDATES[:1], REFERENCES[:1])
    assert score.clips[0] == 1.0
    assert score.clips[4:6].tolist() == [0.0, 0.0]
    assert (score.totals[:, meteor.STAGES].reshape(-1, 4, 4).sum((0, 2)) > 0).all(), "every kind of match is among them"
    assert 0.0 < score.clips[1] < 1.0
    assert meteor.of_totals(score.totals) == pytest.approx(score.clips, abs=1e-12)
    assert again.corpus == 1.0


def test_published_scores(started, shared, monkeypatch):
    """912 captions of CoNeTTE and the scores that its authors published."""
    folder = shared / "eval"
    published = json.loads((folder / "audiocaps_test_expected.json").read_text())
    predictions = read_predictions(folder / "audiocaps_test_predictions.csv")
    pairs = pair(read_references(folder / "audiocaps_test_references.csv"), {"conette": predictions})
    monkeypatch.setattr(meteor, "starting", lambda clips: nullcontext(started))
    result = evaluate(pairs, [m for m in METRICS if m not in ("spice", "spider")])
    scores = result.systems["conette"].scores
    assert len(result.files) == published["n_files"]
    tolerance = published["tolerance"]
    for name in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "meteor", "cider_d"):
        expected = published["expected"][name]
        assert scores[name].corpus == pytest.approx(expected, abs=tolerance.get(name, tolerance["default"])), name


def test_meteor_that_says_what_is_no_score(fake_java):
    fake_java(METEOR_PROGRAM.replace("0.5", "half"))
    result = evaluate(of(), ["meteor"])
    assert result.failed == ("meteor",)
    assert "METEOR said what is no score" in result.unavailable["meteor"]


def test_meteor_that_fails_leaves_the_other_scores(fake_java):
    fake_java("if '-stdio' in sys.argv: sys.exit(1)\nfor line in sys.stdin: print(line, end='')")
    result = evaluate(of(), ["bleu", "meteor"])
    assert result.failed == ("meteor",)
    assert "exit code 1" in result.unavailable["meteor"]
    assert "bleu_4" in result.systems["system"].scores
