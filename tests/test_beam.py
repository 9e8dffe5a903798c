"""Beam search against every sentence there is, and the rules that no caption may break."""

from __future__ import annotations

import dataclasses
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aaccli.model.beam import DecodingConfig, Hypothesis, beam_search
from aaccli.model.captioner import END, PAD, START, UNKNOWN, CaptionerNet, Memory, ModelConfig
from aaccli.model.transformer import TransformerConfig

REAL = range(4, 8)  # ids of the toy vocabulary's four words
MAX_WORDS = 4
SENTENCES = [words for length in range(1, MAX_WORDS + 1) for words in product(REAL, repeat=length)]
ALL = DecodingConfig(beam_size=len(SENTENCES), max_words=MAX_WORDS)  # nothing is ever dropped
SEEDS = range(6)
CLOSE = 5e-4  # the toy nets' large weights magnify what float32 rounds off, otherwise on every processor

Sentence = tuple[int, ...]


@cache
def toy_net(seed: int) -> CaptionerNet:
    """A net of strong and varied opinions about four words and when to stop; a fresh one has hardly any."""
    torch.manual_seed(seed)
    net = CaptionerNet(ModelConfig(transformer=TransformerConfig(16, 1, 2, 2, 32, 0.0)), len(REAL) + 4).eval()
    with torch.no_grad():
        for parameter in net.decoder.layers.parameters():
            parameter.mul_(4)
        net.decoder.norm_out.weight.fill_(2)
        nn.init.normal_(net.decoder.embedding.weight, std=0.4)
        nn.init.normal_(net.decoder.bias, std=0.7)
        net.decoder.bias[END] = 2
    return net


def with_bias(net: CaptionerNet, ids: list[int], value: float) -> CaptionerNet:
    """A copy of the net that says these words at all costs, or never."""
    copy = CaptionerNet(net.config, len(net.decoder.bias)).eval()
    copy.load_state_dict(net.state_dict())
    with torch.no_grad():
        copy.decoder.bias[ids] = value
    return copy


@torch.no_grad()
def memory_of(net: CaptionerNet, *lengths: int) -> Memory:
    torch.manual_seed(1)
    return net.remember(torch.rand(len(lengths), max(lengths), 512), torch.tensor(lengths))


@torch.no_grad()
def next_logprobs(net: CaptionerNet, memory: Memory, sentences: list[Sentence]) -> Tensor:
    """Log-probabilities (sentences, places, words) by teacher forcing, without a cache; one clip, one length."""
    words = torch.tensor([[START, *sentence] for sentence in sentences])
    memory = memory.repeat(len(sentences))
    embeddings, _ = net.decoder(words, net.decoder.start(memory.encoded), memory.inside)
    return F.log_softmax(net.decoder.logits(embeddings).double(), dim=-1)


def forced(net: CaptionerNet, memory: Memory, sentences: list[Sentence]) -> dict[Sentence, float]:
    """Total log-probability of each sentence, END included."""
    totals = {}
    for length in {len(sentence) for sentence in sentences}:
        same = [sentence for sentence in sentences if len(sentence) == length]
        targets = torch.tensor([[*sentence, END] for sentence in same])
        picked = next_logprobs(net, memory, same).gather(2, targets[:, :, None]).sum((1, 2))
        totals |= dict(zip(same, picked.tolist(), strict=True))
    return totals


def search(net: CaptionerNet, memory: Memory, **settings) -> list[list[Hypothesis]]:
    return beam_search(net, memory, DecodingConfig(**settings))


def words_of(hypotheses: list[Hypothesis]) -> list[Sentence]:
    return [hypothesis.words for hypothesis in hypotheses]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
def test_search_without_dropping_ranks_as_brute_force_does(seed, length_penalty):
    net = toy_net(seed)
    memory = memory_of(net, 5)
    totals = forced(net, memory, SENTENCES)
    ranks = {words: total / (len(words) + 1) ** length_penalty for words, total in totals.items()}
    (found,) = beam_search(net, memory, dataclasses.replace(ALL, length_penalty=length_penalty))
    assert found[0].words == max(ranks, key=ranks.get)
    assert sorted(words_of(found)) == sorted(SENTENCES)
    along = np.array([ranks[words] for words in words_of(found)])
    assert (np.diff(along) <= CLOSE).all(), "best first, by brute force's count"
    assert [h.rank for h in found] == pytest.approx(along.tolist(), abs=CLOSE)
    assert [h.log_probability for h in found] == pytest.approx([totals[h.words] for h in found], abs=CLOSE)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
def test_the_toy_nets_disagree_about_how_long_a_caption_is(length_penalty):
    """Else the comparison with brute force would not show a wrong length penalty or a wrong stop."""
    config = dataclasses.replace(ALL, length_penalty=length_penalty)
    best = [beam_search(toy_net(seed), memory_of(toy_net(seed), 5), config)[0][0].words for seed in SEEDS]
    assert len({len(words) for words in best}) >= 3
    assert len(set(best)) >= 4


def test_the_length_penalty_matters():
    def best(length_penalty: float) -> list[Sentence]:
        config = dataclasses.replace(ALL, length_penalty=length_penalty)
        return [beam_search(toy_net(seed), memory_of(toy_net(seed), 5), config)[0][0].words for seed in SEEDS]

    assert sum(map(len, best(0.0))) < sum(map(len, best(1.0)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("beam_size", [1, 2, 4, 16])
def test_no_beam_finds_more_than_there_is(seed, beam_size):
    net = toy_net(seed)
    memory = memory_of(net, 5)
    totals = forced(net, memory, SENTENCES)
    (found,) = search(net, memory, beam_size=beam_size, max_words=MAX_WORDS, length_penalty=0.0)
    assert 1 <= len(found) <= beam_size
    assert len(set(words_of(found))) == len(found)
    assert found[0].log_probability <= max(totals.values()) + CLOSE
    assert [h.log_probability for h in found] == pytest.approx([totals[h.words] for h in found], abs=CLOSE)


@pytest.mark.parametrize("seed", SEEDS)
def test_beam_1_is_greedy(seed):
    net = toy_net(seed)
    memory = memory_of(net, 5)
    said: Sentence = ()
    while len(said) < 12:
        logprobs = next_logprobs(net, memory, [said])[0, -1]
        allowed = [*REAL] if not said else [END, *REAL]
        best = max(allowed, key=lambda word: logprobs[word].item())
        if best == END:
            break
        said = (*said, best)
    (found,) = search(net, memory, beam_size=1, max_words=12)
    assert words_of(found) == [said]


def beam_by_hand(net: CaptionerNet, memory: Memory, beam_size: int, max_words: int) -> list[Sentence]:
    """One clip, no cache: what ends among the best candidates is finished, the best of the others go on.

    Greedy decoding is a beam of one.
    """
    live: list[tuple[float, Sentence]] = [(0.0, ())]
    finished: list[tuple[float, Sentence]] = []
    for length in range(max_words + 1):
        allowed = ([END] if length else []) + ([*REAL] if length < max_words else [])
        logprobs = next_logprobs(net, memory, [said for _, said in live])[:, -1].tolist()
        candidates = sorted(
            (
                (total + after[word], (*said, word))
                for (total, said), after in zip(live, logprobs, strict=True)
                for word in allowed
            ),
            reverse=True,
        )
        finished += [(total / len(said), said[:-1]) for total, said in candidates[:beam_size] if said[-1] == END]
        live = [candidate for candidate in candidates if candidate[1][-1] != END][:beam_size]
        if len(finished) >= beam_size or not live:
            break
    return [said for _, said in sorted(finished, reverse=True)[:beam_size]]


def ranked(net: CaptionerNet, memory: Memory, sentences: set[Sentence]) -> list[Sentence]:
    """By their mean log-probability, best first."""
    totals = forced(net, memory, list(sentences))
    return sorted(sentences, key=lambda words: -totals[words] / (len(words) + 1))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("beam_size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("max_words", [3, 9])
def test_small_beams_find_what_a_plain_beam_search_and_greedy_decoding_find(seed, beam_size, max_words):
    net = toy_net(seed)
    memory = memory_of(net, 5)
    (found,) = search(net, memory, beam_size=beam_size, max_words=max_words)
    expected = {words for size in (1, beam_size) for words in beam_by_hand(net, memory, size, max_words)}
    assert words_of(found) == ranked(net, memory, expected)[:beam_size]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("settings", [{"beam_size": 1}, {"beam_size": 4}, {"beam_size": 3, "no_repeat_ngram": 2}])
def test_a_clip_gets_the_same_captions_alone_and_beside_others(seed, settings):
    net = toy_net(seed)
    lengths = (5, 2, 9, 1)
    memory = memory_of(net, *lengths)
    together = search(net, memory, max_words=8, **settings)
    assert len(together) == len(lengths)
    for clip, length in enumerate(lengths):
        alone = net.remember(memory.heard[clip : clip + 1, :length])
        (expected,) = search(net, alone, max_words=8, **settings)
        assert words_of(together[clip]) == words_of(expected)
        assert [h.rank for h in together[clip]] == pytest.approx([h.rank for h in expected], abs=CLOSE)


@pytest.mark.parametrize("seed", SEEDS)
def test_clips_of_a_batch_get_captions_of_their_own(seed):
    net = toy_net(seed)
    found = search(net, memory_of(net, 5, 2, 9, 1), max_words=8)
    assert len({hypotheses[0].log_probability for hypotheses in found}) == 4


@pytest.mark.parametrize("beam_size", [1, 2, 4, 30])
def test_no_caption_is_empty_even_where_the_end_is_by_far_the_likeliest(beam_size):
    net = with_bias(toy_net(0), [END], 50.0)
    memory = memory_of(net, 5, 3)
    assert next_logprobs(net, memory_of(net, 5), [()])[0, -1].argmax() == END
    for found in search(net, memory, beam_size=beam_size, max_words=6):
        assert len(found) >= 1
        assert all(len(words) >= 1 for words in words_of(found))
        assert len(found[0].words) == 1


@pytest.mark.parametrize("min_words", [1, 3, 5])
def test_min_words(min_words):
    net = with_bias(toy_net(0), [END], 50.0)
    for found in search(net, memory_of(net, 5, 3), min_words=min_words, max_words=6):
        assert {len(words) for words in words_of(found)} == {min_words}


@pytest.mark.parametrize("max_words", [1, 2, 7])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_max_words(max_words, beam_size):
    net = with_bias(toy_net(0), [END], -50.0)
    for found in search(net, memory_of(net, 5, 3), beam_size=beam_size, max_words=max_words):
        assert len(found) == beam_size
        assert {len(words) for words in words_of(found)} == {max_words}


def repeats(words: Sentence, n: int) -> bool:
    runs = [words[i : i + n] for i in range(len(words) - n + 1)]
    return len(set(runs)) < len(runs)


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_repeat_ngram(n, beam_size):
    net = with_bias(toy_net(0), [END], -50.0)

    def said(**settings) -> list[Sentence]:
        found = search(net, memory_of(net, 5, 3), beam_size=beam_size, max_words=8, **settings)
        return [words for hypotheses in found for words in words_of(hypotheses)]

    free, bound = said(), said(no_repeat_ngram=n)
    assert all(repeats(words, n) for words in free), "the net left alone does repeat itself"
    assert not any(repeats(words, n) for words in bound)
    assert {len(words) for words in bound} == ({4} if n == 1 else {8}), "runs that are new stay allowed"


@pytest.mark.parametrize("beam_size", [1, 4])
def test_no_repeat_words(beam_size):
    """Of the four words, the first two are one family, the third is its own, the fourth is free."""
    net, families = with_bias(toy_net(0), [END], -50.0), (0, 0, 0, 0, 1, 1, 2, 0)

    def said(**settings) -> list[Sentence]:
        config = DecodingConfig(beam_size=beam_size, max_words=8, **settings)
        found = beam_search(net, memory_of(net, 5, 3), config, families)
        return [hypothesis.words for hypotheses in found for hypothesis in hypotheses]

    def again(words: Sentence) -> bool:
        of_a_family = [families[word] for word in words if families[word]]
        return len(set(of_a_family)) < len(of_a_family)

    free, bound = said(), said(no_repeat_words=True)
    assert any(again(words) for words in free), "the net left alone does repeat itself"
    assert not any(again(words) for words in bound)
    assert any(words.count(7) > 1 for words in bound), "free words come again"
    with pytest.raises(ValueError, match="families"):
        beam_search(net, memory_of(net, 5), DecodingConfig(no_repeat_words=True))


def test_padding_start_and_unknown_are_never_said():
    net = with_bias(toy_net(0), [PAD, START, UNKNOWN], 50.0)
    for found in search(net, memory_of(net, 5, 3), max_words=6):
        assert {word for words in words_of(found) for word in words} <= set(REAL)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_score_is_the_mean_log_probability_of_words_and_end(seed, length_penalty):
    net = toy_net(seed)
    memory = memory_of(net, 5)
    (found,) = search(net, memory, max_words=9, length_penalty=length_penalty)
    totals = forced(net, memory, words_of(found))
    expected = [totals[words] / (len(words) + 1) for words in words_of(found)]
    assert [h.score for h in found] == pytest.approx(expected, abs=CLOSE)


def test_score_counts_the_end_of_a_caption_that_has_no_word_left():
    net = with_bias(toy_net(0), [END], -3.0)
    memory = memory_of(net, 5)
    (found,) = search(net, memory, min_words=6, max_words=9, no_repeat_ngram=1)
    assert {len(words) for words in words_of(found)} == {4}
    totals = forced(net, memory, words_of(found))
    assert [h.log_probability for h in found] == pytest.approx([totals[h.words] for h in found], abs=CLOSE)


def indifferent_net(words: int) -> CaptionerNet:
    net = CaptionerNet(ModelConfig(transformer=TransformerConfig(16, 1, 1, 2, 32, 0.0)), words).eval()
    nn.init.zeros_(net.decoder.embedding.weight)
    return net


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_equal_ranks_are_ordered_by_ids(length_penalty):
    """Total log-probability is the same for sentences of one length, its mean for all sentences."""
    net = indifferent_net(8)
    order = sorted(SENTENCES, key=lambda words: ((len(words) if length_penalty == 0 else 0), words))
    for found in beam_search(net, memory_of(net, 5, 3), dataclasses.replace(ALL, length_penalty=length_penalty)):
        assert words_of(found) == order


@pytest.mark.parametrize("beam_size", [1, 2, 3, 4])
@pytest.mark.parametrize("words", [8, 100])
def test_ties_go_to_the_lowest_ids(beam_size, words):
    net = indifferent_net(words)
    for found in search(net, memory_of(net, 5, 3), beam_size=beam_size, max_words=3):
        assert found[0].words == (4,)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_ties_are_broken_the_same_way_alone_and_beside_others(beam_size):
    net = indifferent_net(100)
    alone, together = (search(net, memory_of(net, *[5] * clips), beam_size=beam_size, max_words=3) for clips in (1, 40))
    assert {tuple(words_of(found)) for found in together} == {tuple(words_of(alone[0]))}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"beam_size": 0}, "beam_size is at least 1"),
        ({"min_words": 0}, "1 <= min_words <= max_words is needed"),
        ({"min_words": 9, "max_words": 8}, "1 <= min_words <= max_words is needed"),
        ({"length_penalty": float("nan")}, "length_penalty is between -10 and 10"),
        ({"length_penalty": -1e9}, "length_penalty is between -10 and 10"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram is at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, why):
    with pytest.raises(ValueError, match=f"^{why}$"):
        DecodingConfig(**settings)


@pytest.mark.parametrize("length_penalty", [-10.0, 10.0])
def test_the_largest_length_penalties_that_models_may_have(length_penalty):
    (found,) = search(toy_net(0), memory_of(toy_net(0), 5), max_words=3, length_penalty=length_penalty)
    assert np.isfinite([h.rank for h in found]).all()
