"""Windows of sound are shared out to threads that hear them, while more is read; what is heard comes in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeVar

import torch

from .reading import Ending, Part, Stretch

T = TypeVar("T")

MAX_WORKERS = 4  # each holds what CNN10 makes of a window: with four, 950 MB in all
AHEAD = 1  # batches that wait while the workers are busy, so that none of these does


@dataclass(frozen=True)
class Plan:
    """How windows are shared out. It changes the time that hearing takes, never what is heard."""

    workers: int  # threads that hear
    threads: int  # of the processor, for each of them
    batch: int  # windows heard at once
    seconds: float  # of padded sound heard at once, at most


def plan_for_processor(threads: int, batch: int, seconds: float) -> Plan:
    """A worker for each thread: two windows side by side take less time than one after the other on two threads."""
    workers = min(threads, MAX_WORKERS)
    return Plan(workers, threads // workers, batch, seconds)


def batches(parts: Iterable[Part], plan: Plan) -> Iterator[list[Part]]:
    """Gather as many windows as are heard at once, and the endings among and after them."""
    batch: list[Part] = []
    for part in parts:
        if isinstance(part, Stretch) and not _fit([*_stretches(batch), part], plan):
            yield batch
            batch = []
        batch.append(part)
        if isinstance(part, Ending) and len(_stretches(batch)) in (0, plan.batch):  # do not wait for another file
            yield batch
            batch = []
    if batch:
        yield batch


def _fit(stretches: Sequence[Stretch], plan: Plan) -> bool:
    padded = len(stretches) * max(s.end - s.start for s in stretches)
    return len(stretches) == 1 or (len(stretches) <= plan.batch and padded <= plan.seconds)


def _stretches(batch: Iterable[Part]) -> list[Stretch]:
    return [part for part in batch if isinstance(part, Stretch)]


def heard_in_order(
    parts: Iterable[Part], hear: Callable[[Sequence[Stretch]], Sequence[T]], plan: Plan
) -> Iterator[tuple[Stretch, T] | Ending]:
    """Hear all windows, several at a time.

    Parameters
    ----------
    parts : iterable of Part
        Read as it is needed: no more than ``AHEAD`` batches wait.
    hear : callable
        From windows to what is heard in each. It is called in threads, and where there is one batch in all, in this
        one, with all threads of the processor.
    plan : Plan
    """
    gathered = batches(parts, plan)
    first = list(islice(gathered, 2))
    if len(first) < 2:
        for batch in first:
            yield from _heard(batch, hear)
        return
    pool = ThreadPoolExecutor(plan.workers, "aac-hear", torch.set_num_threads, (plan.threads,))
    waiting: deque[Future[list[tuple[Stretch, T] | Ending]]] = deque()
    try:
        for batch in chain(first, gathered):
            waiting.append(pool.submit(_heard, batch, hear))
            while waiting and (len(waiting) > plan.workers + AHEAD or waiting[0].done()):
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _heard(batch: Iterable[Part], hear: Callable[[Sequence[Stretch]], Sequence[T]]) -> list[tuple[Stretch, T] | Ending]:
    stretches = _stretches(batch)
    found = iter(hear(stretches) if stretches else ())
    return [part if isinstance(part, Ending) else (part, next(found)) for part in batch]


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for what consists of many small operations, which take longer with more where the cores are busy."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
