"""Several processes at work on one thing, as ``torchrun`` starts them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from .errors import RankError

T = TypeVar("T")

PATIENCE = timedelta(days=30)  # the others may have much longer recordings


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that work together; RankError where one of them is gone."""

    rank: int = 0
    count: int = 1
    local: int = 0  # this process among those of its machine: which accelerator is its own

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every ``count``-th item: neighbours in a folder are often of like length."""
        return items[self.rank :: self.count]

    def broadcast(self, data: Any) -> Any:
        """What rank 0 has, on all ranks; as JSON, so that nothing is unpickled."""
        if self.count == 1:
            return data
        content = torch.frombuffer(bytearray(json.dumps(data).encode()), dtype=torch.uint8)
        size = torch.tensor(len(content))
        with self._together():
            distributed.broadcast(size, 0)
            if self.rank != 0:
                content = torch.empty(int(size), dtype=torch.uint8)
            distributed.broadcast(content, 0)
        return json.loads(content.numpy().tobytes())

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.count > 1:
            with self._together():
                distributed.barrier()

    @contextmanager
    def _together(self) -> Iterator[None]:
        """A peer that is gone is a RankError: what it ended with is the error to read, not where this one waited."""
        try:
            yield
        except RuntimeError as error:
            raise RankError(f"rank {self.rank}: another rank has ended; read its error") from error


@contextmanager
def joined(backend: str = "gloo") -> Iterator[Ranks]:
    """The ranks that torchrun's environment tells of; without it, this process alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks()
        return
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Ranks(distributed.get_rank(), count, int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        distributed.destroy_process_group()
