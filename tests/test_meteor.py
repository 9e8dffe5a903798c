"""METEOR, by its program and by programs that misbehave."""

import pytest
from scored import CANDIDATES, METEOR_PROGRAM, REFERENCES, of

from aaccli.metrics import meteor
from aaccli.metrics.evaluation import evaluate


def test_meteor_of_java(real_java):
    """The formula on sums gives what the program says; whole matches, none, and nothing said among them."""
    with meteor.starting(6) as started:
        score = started.score([*CANDIDATES, "xyzzy", ""], [*REFERENCES, ["a dog ||| barks"], ["rain"]])
        again = started.score(CANDIDATES[:1], REFERENCES[:1])
    assert score.clips[0] == 1.0
    assert score.clips[4:].tolist() == [0.0, 0.0]
    assert 0.0 < score.clips[1] < 1.0
    assert meteor.of_totals(score.totals) == pytest.approx(score.clips, abs=1e-12)
    assert again.corpus == 1.0


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
