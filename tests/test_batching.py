"""Plans of an epoch, and threads that decode ahead."""

from __future__ import annotations

import threading
from itertools import chain

import numpy as np
import pytest
import torch

from aaccli.data.clips import Example
from aaccli.model.captioner import END, START
from aaccli.training.batching import AHEAD, in_order, loading, parts_of_step, plan_epoch, steps_of_epoch
from aaccli.training.config import TrainingConfig


def config(batch_size: int, accumulate: int, seed: int = 0) -> TrainingConfig:
    return TrainingConfig(batch_size=batch_size, accumulate=accumulate, seed=seed)


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize(("count", "size", "accumulate"), [(3, 1, 2), (100, 4, 2), (101, 7, 3), (5, 64, 4), (64, 4, 1)])
def test_an_epoch_takes_every_example_once(count, size, accumulate, ranks):
    c = config(size, accumulate)
    plan = plan_epoch(count, np.arange(count) % 9, c, 0, ranks)
    assert sorted(chain.from_iterable(chain.from_iterable(plan))) == list(range(count))
    assert len(plan) == steps_of_epoch(count, c) == -(-count // (size * accumulate))
    assert max(len(batch) for step in plan for batch in step) <= size
    for step in plan[:-1]:
        assert len(step) == parts_of_step(c, ranks)
        assert abs(sum(map(len, step)) - size * accumulate) < len(step)


def test_ranks_share_the_batches_of_one_process():
    c = config(4, 4)
    assert plan_epoch(50, None, c, 3, 1) == plan_epoch(50, None, c, 3, 2) == plan_epoch(50, None, c, 3, 4)


def test_plans_differ_by_epoch_and_seed_alone():
    plans = [plan_epoch(50, None, config(4, 2, seed), epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert plans[0] == plans[3]
    assert plans[0] != plans[1] != plans[2] != plans[0]


def test_like_lengths_come_together():
    lengths = np.random.default_rng(0).uniform(15, 30, 640)

    def padding(plan) -> float:
        batches = [lengths[list(batch)] for step in plan for batch in step]
        return sum(len(b) * b.max() - b.sum() for b in batches) / lengths.sum()

    c = config(16, 4)
    assert padding(plan_epoch(640, lengths, c, 0)) < 0.3 * padding(plan_epoch(640, None, c, 0))
    assert [len(b) for b in in_order(5, [3, 1, 2, 5, 4], 2)] == [2, 2, 1]
    assert in_order(5, [3, 1, 2, 5, 4], 2) == [(1, 2), (0, 4), (3,)]
    assert in_order(3, None, 2) == [(0, 1), (2,)]


class Slow:
    """Examples that note who decoded them."""

    def __init__(self) -> None:
        self.decoded: list[int] = []
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Example:
        if index == 33:
            raise OSError("the disk is gone")
        self.decoded.append(index)
        self.threads.add(threading.current_thread().name)
        return Example(torch.full((1, 1), float(index)), ((START, END),))


def test_batches_come_in_order_decoded_by_threads_a_little_ahead():
    examples = Slow()
    plan = [(5, 3), (0, 1), (7,), *((i, i + 1) for i in range(10, 30, 2))]
    with loading(3) as loader:
        batches = loader.batches(examples, plan)
        first = next(batches)
        assert first.frames[:, 0, 0].tolist() == [5, 3]
        assert len(examples.decoded) <= sum(map(len, plan[: AHEAD + 1]))
        assert [b.frames[:, 0, 0].tolist() for b in batches] == [list(map(float, p)) for p in plan[1:]]
    assert threading.current_thread().name not in examples.threads


def test_what_goes_wrong_in_a_thread_is_raised_where_the_batch_is_taken():
    with loading(1) as loader, pytest.raises(OSError, match="the disk is gone"):
        list(loader.batches(Slow(), [(1, 2), (33,)]))
