"""Which examples make a batch and a step, and their decoding by threads ahead of the network.

A plan depends on the seed and the epoch alone, so that a run that is taken up again goes on with the same batches.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from ..data.clips import Batch, Example, Examples, collate
from .config import TrainingConfig

POOL = 8  # batches whose clips are sorted by length: little padding, and still hardly two captions of one clip together
AHEAD = 2  # batches that are decoded while one is learned

Indices = tuple[int, ...]


def parts_of_step(config: TrainingConfig, ranks: int) -> int:
    """Batches in a step, over all ranks: ``accumulate``, or more where that cannot be shared out evenly."""
    return -(-config.accumulate // ranks) * ranks


def plan_epoch(
    count: int, lengths: Sequence[float] | None, config: TrainingConfig, epoch: int, ranks: int = 1
) -> list[list[Indices]]:
    """Share the examples of an epoch out to steps and batches, each example once.

    Examples are drawn in pools of some batches; in a pool, those of like length come together.

    Parameters
    ----------
    count : int
        Examples.
    lengths : sequence of float, or None
        Of each example, in any unit; None where they are not known.
    config : TrainingConfig
    epoch : int
        From 0.
    ranks : int
        Processes among which the batches of a step are shared out.

    Returns
    -------
    list of list of tuple of int
        Steps, their batches, and the examples of these. Every step but the last has ``config.step_size`` examples,
        give or take one a batch.
    """
    random = np.random.default_rng([config.seed, epoch])
    order = random.permutation(count)
    parts = parts_of_step(config, ranks)
    pool = config.step_size * max(1, POOL // parts)
    steps: list[list[Indices]] = []
    for start in range(0, count, pool):
        drawn = order[start : start + pool]
        if lengths is not None:
            drawn = drawn[np.argsort(np.asarray(lengths)[drawn], kind="stable")]
        pieces = np.array_split(drawn, -(-len(drawn) * parts // config.step_size))
        batches = [tuple(pieces[i].tolist()) for i in random.permutation(len(pieces))]
        steps += [batches[i : i + parts] for i in range(0, len(batches), parts)]
    return steps


def steps_of_epoch(count: int, config: TrainingConfig) -> int:
    return -(-count // config.step_size)


def in_order(count: int, lengths: Sequence[float] | None, size: int) -> list[Indices]:
    """Batches of all examples to validate with, the shortest first where lengths are known."""
    order = list(range(count)) if lengths is None else np.argsort(np.asarray(lengths), kind="stable").tolist()
    return [tuple(order[i : i + size]) for i in range(0, count, size)]


class Loader:
    """Threads that decode examples: libsndfile and PyTorch let go of Python's lock while they work."""

    def __init__(self, workers: int) -> None:
        # One thread each inside PyTorch, so that the number of workers changes no result.
        self.pool = ThreadPoolExecutor(workers, "aac-decode", torch.set_num_threads, (1,))

    def batches(self, examples: Examples, plan: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """The batches of a plan, in its order."""
        ahead: deque[list[Future[Example]]] = deque()
        try:
            for indices in plan:
                ahead.append([self.pool.submit(examples.__getitem__, i) for i in indices])
                if len(ahead) > AHEAD:
                    yield collate([future.result() for future in ahead.popleft()])
            while ahead:
                yield collate([future.result() for future in ahead.popleft()])
        finally:
            for future in (future for batch in ahead for future in batch):
                future.cancel()


@contextmanager
def loading(workers: int) -> Iterator[Loader]:
    """A loader whose threads end with the block."""
    loader = Loader(workers)
    try:
        yield loader
    finally:
        loader.pool.shutdown(cancel_futures=True)


def workers_for(wanted: int, ranks: int) -> int:
    """Threads that decode: as many as wanted; with 0 half of the processors, shared by the ranks, 8 at most."""
    return wanted or max(1, min(8, (os.cpu_count() or 1) // 2 // ranks))
