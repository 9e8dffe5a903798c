"""Captions to the words that scores count."""

from scored import CANDIDATES, REFERENCES, of

from aaccli.metrics import tokenization
from aaccli.metrics.evaluation import evaluate


def test_tokens_of_java(real_java):
    given = ['A dog\'s bark -- far-off, "then" silence?', "it can't\nstop", "Café", "a dog", "a dog"]
    tokens = tokenization.tokenize(given)
    assert tokens.method == "ptb"
    assert [tokens.of[caption] for caption in given] == [
        "a dog 's bark far-off then silence",
        "it ca n't stop",
        "café",
        "a dog",
        "a dog",
    ]


def test_each_caption_is_tokenized_once_for_all_systems(monkeypatch):
    seen = []
    monkeypatch.setattr(tokenization, "_ptb", lambda lines, jar: seen.append(lines) or lines)
    evaluate(of(systems={"a": tuple(CANDIDATES), "b": tuple(CANDIDATES)}), ["bleu"])
    every = {*CANDIDATES, *(c for those in REFERENCES for c in those)}
    assert [sorted(lines) for lines in seen] == [sorted(every)]
