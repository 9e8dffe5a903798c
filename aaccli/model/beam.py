"""Batched beam search, never worse than greedy decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .captioner import END, PAD, START, UNKNOWN, CaptionerNet, Memory


@dataclass(frozen=True)
class DecodingConfig:
    """How words are chosen. Only the beam is the paper's.

    Attributes
    ----------
    beam_size : int
        4 is the paper's, 1 is greedy.
    min_words, max_words : int
        No caption is empty; Clotho's have 8 to 20 words.
    length_penalty : float
        Hypotheses are ranked by log-probability / tokens ** length_penalty; 0: by their sum.
    no_repeat_ngram : int
        Forbid a run of as many words that the caption already has; 0: allow.
    no_repeat_words : bool
        Say a word once, in whatever form; function words are free (repetition.py).
    """

    beam_size: int = 4
    min_words: int = 1
    max_words: int = 30
    length_penalty: float = 1.0
    no_repeat_ngram: int = 0
    no_repeat_words: bool = False

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise ValueError("beam_size is at least 1")
        if not 1 <= self.min_words <= self.max_words:
            raise ValueError("1 <= min_words <= max_words is needed")
        if not abs(self.length_penalty) <= 10:  # nan neither
            raise ValueError("length_penalty is between -10 and 10")
        if self.no_repeat_ngram < 0:
            raise ValueError("no_repeat_ngram is at least 0")


@dataclass(frozen=True)
class Hypothesis:
    """One finished caption."""

    words: tuple[int, ...]  # ids, without START and END
    log_probability: float  # natural, of all words and END
    rank: float  # what hypotheses are ordered by

    @property
    def score(self) -> float:
        """Mean log-probability of a token, END included, whatever the length penalty."""
        return self.log_probability / (len(self.words) + 1)


@torch.no_grad()
def beam_search(
    net: CaptionerNet, memory: Memory, config: DecodingConfig, families: Sequence[int] = ()
) -> list[list[Hypothesis]]:
    """Find the best captions of a batch of clips.

    A beam drops what ranks low at a word, be it the beginning of what would rank high in the end. So a lane of greedy
    decoding runs beside it: its caption is always among those that are ranked.

    Parameters
    ----------
    net : CaptionerNet
        In eval mode.
    memory : Memory
        Of B clips.
    config : DecodingConfig
    families : sequence of int
        Of each word's id, as ``repetition.families`` has them, which ``no_repeat_words`` goes by.

    Returns
    -------
    list of list of Hypothesis
        For each clip up to ``beam_size`` captions, best first; the first ranks no lower than greedy decoding's. Equal
        ranks are ordered by their ids, so that the same model and clip give the same caption every time.
    """
    batch, beam = memory.encoded.shape[0], config.beam_size
    lanes = beam + 1 if beam > 1 else 1
    if config.no_repeat_words and not families:
        raise ValueError("no_repeat_words needs the families of words")
    device = memory.encoded.device
    caches = net.decoder.start(memory.encoded)
    words = torch.full((batch, 1), START, device=device)
    logprobs, caches = net.step(words, caches, memory.inside)
    memory, vocabulary = memory.repeat(lanes), logprobs.shape[1]
    caches = [cache.repeat(lanes) for cache in caches]
    # Ranking is done on the CPU, where float64 always is: sums that differ must not become equal.
    # One live beam a clip to begin with, or all of them would be the same; and the greedy lane.
    totals = torch.full((batch, lanes), -torch.inf, dtype=torch.float64)
    totals[:, [0, -1]] = 0.0
    words = words.repeat_interleave(lanes, 0).cpu()
    logprobs = logprobs.repeat_interleave(lanes, 0)
    finished: list[list[Hypothesis]] = [[] for _ in range(batch)]
    greedy: list[list[Hypothesis]] = [[] for _ in range(batch)]
    once = torch.tensor(families) if config.no_repeat_words else None

    for length in range(config.max_words + 1):
        logprobs = logprobs.cpu().double()
        _forbid(logprobs, words, length, config, once)
        candidates = totals[:, :, None] + logprobs.view(batch, lanes, vocabulary)
        chosen = [_choose(candidates[:, :beam], 0, words, finished, config)]
        if lanes > beam:
            chosen.append(_choose(candidates[:, beam:], beam, words, greedy, config))
        rows, next_words, totals = (torch.cat(parts, 1) for parts in zip(*chosen, strict=True))
        if not torch.isfinite(totals).any():
            break
        words = torch.cat((words[rows.flatten()], next_words.view(-1, 1)), 1)
        caches = [cache.select(rows.flatten().to(device)) for cache in caches]
        logprobs, caches = net.step(next_words.view(-1, 1).to(device), caches, memory.inside)
    return [_merge(*both)[:beam] for both in zip(finished, greedy, strict=True)]


def _merge(finished: list[Hypothesis], greedy: list[Hypothesis]) -> list[Hypothesis]:
    """All that was found, best first, each sentence once."""
    return sorted({h.words: h for h in (*greedy, *finished)}.values(), key=lambda h: (-h.rank, h.words))


def _largest(candidates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest of each row (B, count), and where they are: best first, equal ones in their order."""
    least = candidates.topk(count).values[:, -1]  # topk itself takes any of equal ones
    places = []
    for row, bound in zip(candidates, least, strict=True):
        (among,) = torch.nonzero(row >= bound, as_tuple=True)
        places.append(among[row[among].sort(descending=True, stable=True).indices[:count]])
    index = torch.stack(places)
    return candidates.gather(1, index), index


def _forbid(logprobs: Tensor, words: Tensor, length: int, config: DecodingConfig, once: Tensor | None) -> None:
    """Set to -inf, in place, what may not come as the word after ``length`` others."""
    end = logprobs[:, END].clone()
    logprobs[:, [PAD, START, UNKNOWN]] = -torch.inf
    if length < config.min_words:
        logprobs[:, END] = -torch.inf
    if length >= config.max_words:
        logprobs[:, :END] = logprobs[:, END + 1 :] = -torch.inf
    n = config.no_repeat_ngram
    if n and length >= n:
        for row, said in enumerate(words[:, 1:].tolist()):
            last = said[len(said) - n + 1 :]
            for i in range(len(said) - n + 1):
                if said[i : i + n - 1] == last:
                    logprobs[row, said[i + n - 1]] = -torch.inf
    if once is not None:
        said = torch.zeros(len(words), int(once.max()) + 1, dtype=torch.bool)
        said.scatter_(1, once[words], True)
        said[:, 0] = False
        logprobs[said[:, once]] = -torch.inf
    stuck = torch.isinf(logprobs).all(1)
    logprobs[stuck, END] = end[stuck]  # every word is forbidden: the caption ends, however short


def _choose(
    candidates: Tensor, lane: int, words: Tensor, finished: list[list[Hypothesis]], config: DecodingConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Put aside the best candidates that end and keep as many of the others as there are lanes.

    Parameters
    ----------
    candidates : Tensor
        Total log-probabilities (B, lanes, vocabulary) of some of each clip's lanes.
    lane : int
        Which of a clip's lanes is the first of these.
    words : Tensor
        Of all lanes (B * all lanes, words so far).
    finished : list of list of Hypothesis
        What these lanes have found of each clip; one that has as many as lanes ends.

    Returns
    -------
    tuple of Tensor
        The rows that go on, their next words and totals, each (B, lanes).
    """
    batch, lanes, vocabulary = candidates.shape
    # Ties go to the lower index: the lane that was better before, then the commoner word. Twice the lanes: should
    # all of the first half end here, as many go on.
    best, index = _largest(candidates.reshape(batch, -1), 2 * lanes)
    rows = torch.zeros(batch, lanes, dtype=torch.long)
    next_words = torch.full((batch, lanes), END)
    totals = torch.full((batch, lanes), -torch.inf, dtype=torch.float64)
    for clip, (values, places) in enumerate(zip(best.tolist(), index.tolist(), strict=True)):
        first, kept = clip * (len(words) // batch) + lane, 0
        for position, (total, place) in enumerate(zip(values, places, strict=True)):
            if total == -float("inf") or kept == lanes:
                break
            row, word = first + place // vocabulary, place % vocabulary
            if word != END:
                rows[clip, kept], next_words[clip, kept], totals[clip, kept] = row, word, total
                kept += 1
            elif position < lanes:  # as good as any that go on: a hypothesis, not a straggler
                said = tuple(words[row, 1:].tolist())
                finished[clip].append(Hypothesis(said, total, total / (len(said) + 1) ** config.length_penalty))
        if len(finished[clip]) >= lanes:  # as many as were asked for
            totals[clip] = -torch.inf
    return rows, next_words, totals
