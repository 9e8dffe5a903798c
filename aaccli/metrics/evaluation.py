"""All metrics over systems that captioned the same clips."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ..errors import ConfigError, MetricError, NotInstalledError
from . import coco, meteor, spice
from .reading import Pairs
from .result import Score
from .tokenization import Tokens, tokenize

# What is computed at once -> the scores that come of it. SPIDEr needs both CIDEr-D and SPICE.
METRICS = {
    "bleu": ("bleu_1", "bleu_2", "bleu_3", "bleu_4"),
    "rouge_l": ("rouge_l",),
    "meteor": ("meteor",),
    "cider_d": ("cider_d",),
    "spice": ("spice",),
    "spider": ("spider",),
}
NAMES = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "cider_d": "CIDEr-D",
    "spice": "SPICE",
    "spider": "SPIDEr",
}
FEW_CLIPS = 50  # below, weights of n-grams come from too few clips for CIDEr-D to mean anything


def metrics_named(names: str) -> tuple[str, ...]:
    """The metrics of a list with commas; ``bleu_4``, ``rouge`` and ``cider`` are understood.

    Raises
    ------
    ConfigError
        One is unknown.
    """
    short = {"rouge": "rouge_l", "cider": "cider_d"} | {score: m for m, scores in METRICS.items() for score in scores}
    wanted = {short.get(n := name.strip().lower().replace("-", "_"), n) for name in names.split(",")}
    unknown = sorted(wanted - set(METRICS))
    if unknown:
        raise ConfigError(f"--metrics {', '.join(unknown)}: unknown; there are {', '.join(METRICS)}")
    return tuple(metric for metric in METRICS if metric in wanted)


@dataclass(frozen=True)
class Words:
    """What a system's captions are like, as tokens."""

    distinct: int  # different words in all captions
    mean_length: float  # words a caption
    repeated: float  # share of clips whose caption another clip has too


@dataclass(frozen=True)
class SystemScores:
    """One system's captions and what they are worth."""

    captions: tuple[str, ...]  # of each clip
    scores: dict[str, Score]  # as in NAMES, in that order; the ones that could be computed
    words: Words


@dataclass(frozen=True)
class Evaluation:
    """Systems that captioned the same clips."""

    files: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    systems: dict[str, SystemScores]
    unavailable: dict[str, str]  # score -> why it could not be computed
    failed: tuple[str, ...]  # those of them whose program was there and failed
    tokenizer: str  # "ptb" or "regex"
    warnings: tuple[str, ...]
    seconds: float


def evaluate(
    pairs: Pairs, metrics: Sequence[str] = tuple(METRICS), on_step: Callable[[str], None] = lambda what: None
) -> Evaluation:
    """Score systems that captioned the same clips.

    METEOR, which takes longest to start, runs while the others compute.

    Parameters
    ----------
    pairs : Pairs
        Clips, references, captions.
    metrics : sequence of str
        Of ``METRICS``.
    on_step : callable, optional
        Is told what is computed.

    Raises
    ------
    MetricError
        Captions cannot be tokenized.
    """
    start = time.monotonic()
    work = _Work(pairs, metrics)
    # The pool is left last: a METEOR that is stopped midway ends its thread.
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        running: Future[dict[str, Score]] | None = None
        if "meteor" in metrics:
            on_step("METEOR starts, captions are tokenized")
            with work.or_why("meteor"):
                started = stack.enter_context(meteor.starting(len(pairs.files) * len(pairs.systems)))
        work.tokenize()
        if "meteor" in metrics and "meteor" not in work.unavailable:
            running = pool.submit(lambda: {name: started.score(*work.of(name)) for name in pairs.systems})
        on_step("BLEU, ROUGE-L, CIDEr-D")
        work.add_python()
        if running:
            on_step("METEOR")
            with work.or_why("meteor"):
                for name, score in running.result().items():
                    work.scores[name]["meteor"] = score
    if "spice" in metrics or "spider" in metrics:
        on_step("SPICE")
        work.add_spice()
    return work.done(time.monotonic() - start)


class _Work:
    """What is known so far."""

    def __init__(self, pairs: Pairs, metrics: Sequence[str]) -> None:
        self.pairs = pairs
        self.metrics = metrics
        self.scores: dict[str, dict[str, Score]] = {name: {} for name in pairs.systems}
        self.unavailable: dict[str, str] = {}
        self.failed: list[str] = []
        self.tokens: Tokens

    @contextmanager
    def or_why(self, *names: str) -> Iterator[None]:
        """A block whose MetricError is kept as the reason why scores are missing."""
        try:
            yield
        except MetricError as error:
            self.unavailable |= dict.fromkeys(names, str(error))
            if not isinstance(error, NotInstalledError):
                self.failed += names

    def tokenize(self) -> None:
        """Tokenize each different caption of all systems and references once."""
        pairs = self.pairs
        every = [*(c for those in pairs.references for c in those), *(c for s in pairs.systems.values() for c in s)]
        self.tokens = tokenize(every)
        self.references = [[self.tokens.of[caption] for caption in those] for those in pairs.references]

    def of(self, system: str) -> tuple[list[str], list[list[str]]]:
        """Candidates and references, as tokens."""
        return [self.tokens.of[caption] for caption in self.pairs.systems[system]], self.references

    def add_python(self) -> None:
        for name, scores in self.scores.items():
            if "bleu" in self.metrics:
                scores.update(coco.bleu(*self.of(name)))
            if "rouge_l" in self.metrics:
                scores["rouge_l"] = coco.rouge_l(*self.of(name))
            if "cider_d" in self.metrics or "spider" in self.metrics:
                scores["cider_d"] = coco.cider_d(*self.of(name))

    def add_spice(self) -> None:
        with self.or_why("spice", "spider"):
            for name, scores in self.scores.items():
                scores["spice"] = spice.spice(*self.of(name))
        for scores in self.scores.values():
            if "spider" in self.metrics and "spice" in scores and "spice" not in self.unavailable:
                scores["spider"] = coco.spider(scores["cider_d"], scores["spice"])

    def done(self, seconds: float) -> Evaluation:
        wanted = [score for metric in METRICS if metric in self.metrics for score in METRICS[metric]]
        systems = {
            name: SystemScores(
                captions,
                {s: self.scores[name][s] for s in wanted if s not in self.unavailable},
                _words([self.tokens.of[caption].split() for caption in captions]),
            )
            for name, captions in self.pairs.systems.items()
        }
        return Evaluation(
            self.pairs.files,
            self.pairs.references,
            systems,
            {s: self.unavailable[s] for s in wanted if s in self.unavailable},
            tuple(s for s in wanted if s in self.failed),
            self.tokens.method,
            tuple(self._warnings()),
            seconds,
        )

    def _warnings(self) -> list[str]:
        clips, warnings = len(self.pairs.files), []
        if self.tokens.method == "regex":
            warnings.append(
                f"tokenized by a regular expression: scores are close to those of the COCO evaluation, not the same "
                f"({self.tokens.why})"
            )
        if clips < FEW_CLIPS and ("cider_d" in self.metrics or "spider" in self.metrics):
            zero = "; of a single clip it is 0" if clips == 1 else ""
            warnings.append(
                f"CIDEr-D weighs words by how few of the clips have them: over {clips} it means little{zero}"
            )
        counts = Counter(map(len, self.pairs.references))
        if len(counts) > 1:
            told = ", ".join(f"{clips} with {number}" for number, clips in sorted(counts.items()))
            warnings.append(f"clips have different numbers of references: {told}")
        return warnings


def _words(captions: Sequence[Sequence[str]]) -> Words:
    times = Counter(map(tuple, captions))
    return Words(
        len({word for caption in captions for word in caption}),
        sum(map(len, captions)) / len(captions),
        sum(count for count in times.values() if count > 1) / len(captions),
    )
