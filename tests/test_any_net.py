"""Beam search over any language at all: tables of probabilities in the place of a network."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aaccli.model.beam import DecodingConfig, Hypothesis, beam_search
from aaccli.model.captioner import END, START, Memory

STATES = 13


@dataclass(frozen=True)
class State:
    """What the table remembers of the words so far: a number for each row."""

    numbers: Tensor

    def repeat(self, times: int) -> State:
        return State(self.numbers.repeat_interleave(times, 0))

    def select(self, rows: Tensor) -> State:
        return State(self.numbers[rows])


class Language:
    """Probabilities of the next word by the words before it; a clip is the number that it starts from."""

    def __init__(self, seed: int, words: int, scale: float, ties: bool) -> None:
        logits = scale * torch.randn(STATES, 4 + words, generator=torch.Generator().manual_seed(seed))
        self.table = (logits.round() if ties else logits).log_softmax(1)
        self.decoder = self

    def start(self, encoded: Tensor) -> list[State]:
        return [State(encoded[:, 0, 0].long())]

    def step(self, words: Tensor, caches: list[State], inside: None) -> tuple[Tensor, list[State]]:
        numbers = (5 * caches[0].numbers + 3 * words[:, -1]) % STATES
        return self.table[numbers], [State(numbers)]

    def log_probability(self, clip: int, said: tuple[int, ...]) -> float:
        """Of a caption and its end, word by word."""
        number, total = clip, 0.0
        for word, following in zip((START, *said), (*said, END), strict=True):
            number = (5 * number + 3 * word) % STATES
            total += float(self.table[number, following].double())
        return total


def memory_of(clips: list[int]) -> Memory:
    encoded = torch.tensor(clips, dtype=torch.float32)[:, None, None]
    return Memory(encoded, None, encoded, None)


def search(language: Language, clips: list[int], config: DecodingConfig) -> list[list[Hypothesis]]:
    families = [0] * 4 + list(range(language.table.shape[1] - 4))  # the first word is free
    return beam_search(language, memory_of(clips), config, families)  # type: ignore[arg-type]


LANGUAGES = st.builds(
    Language, st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([0.0, 0.1, 1.0, 5.0, 1000.0]), st.booleans()
)
CLIPS = st.lists(st.integers(0, STATES - 1), min_size=1, max_size=4)
CONFIGS = st.builds(
    DecodingConfig,
    beam_size=st.integers(1, 5),
    min_words=st.integers(1, 3),
    max_words=st.integers(3, 6),
    length_penalty=st.sampled_from([0.0, 0.6, 1.0, -1.0, 2.0]),
    no_repeat_ngram=st.integers(0, 3),
    no_repeat_words=st.booleans(),
)


@settings(max_examples=40)
@given(LANGUAGES, CLIPS, CONFIGS)
def test_what_is_found_is_distinct_sorted_finite_and_as_likely_as_it_says(language, clips, config):
    for clip, found in zip(clips, search(language, clips, config), strict=True):
        assert 1 <= len(found) <= config.beam_size
        assert len({h.words for h in found}) == len(found)
        assert found == sorted(found, key=lambda h: (-h.rank, h.words))
        for h in found:
            assert min(h.words) >= 4 and len(h.words) <= config.max_words
            assert h.log_probability == pytest.approx(language.log_probability(clip, h.words), rel=1e-9)
            assert h.rank == pytest.approx(h.log_probability / (len(h.words) + 1) ** config.length_penalty)
            assert -float("inf") < h.rank <= 0
            if not config.no_repeat_words and not config.no_repeat_ngram:  # else words may run out
                assert len(h.words) >= config.min_words


@settings(max_examples=20)
@given(LANGUAGES, CLIPS, CONFIGS)
def test_a_clip_is_searched_alike_alone_beside_others_and_again(language, clips, config):
    together = search(language, clips, config)
    assert search(language, clips, config) == together
    assert [search(language, [clip], config)[0] for clip in clips] == together


@settings(max_examples=20)
@given(LANGUAGES.filter(lambda language: language.table.shape[1] <= 6), CLIPS, st.integers(1, 5), st.floats(0, 1))
def test_none_is_better_than_what_the_widest_beam_finds(language, clips, beam_size, length_penalty):
    """Two words, three places: 14 captions, all of which a beam of 14 holds; greedy decoding is a beam of 1."""
    widest = search(language, clips, DecodingConfig(14, 1, 3, length_penalty))
    for narrow in (1, beam_size):
        found = search(language, clips, DecodingConfig(narrow, 1, 3, length_penalty))
        assert all(some[0].rank <= most[0].rank for some, most in zip(found, widest, strict=True))
