"""Training in several processes, as ``torchrun`` starts them, with PyTorch's DistributedDataParallel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn

from ..ranks import Ranks, joined


class Team(Ranks):
    """The processes that train one network together; alone if ``count`` is 1."""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.count > 1:
            with self._together():
                distributed.all_reduce(values)
        return values


@contextmanager
def team(device: torch.device) -> Iterator[tuple[Team, torch.device]]:
    """The team that torchrun's environment tells of, and this process's device; without it, this process alone.

    Small messages go over the processors (gloo), gradients over the network of the devices that compute them (nccl).
    """
    with joined("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo") as ranks:
        if ranks.count > 1 and device.type == "cuda":
            device = torch.device("cuda", ranks.local)
            torch.cuda.set_device(device)
        yield Team(ranks.rank, ranks.count, ranks.local), device


class BatchStatistics:
    """Running statistics of batch norms over a step that several ranks share.

    Each rank hears some batches of the step, all of them from the statistics at its start. With momentum m, batch
    i of n adds (1 - m)^(n - 1 - i) of the change that it alone makes: the sum over all of them is what one process
    that hears them one after the other ends with.
    """

    def __init__(self, net: nn.Module) -> None:
        self.norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
        self.momenta = [m.momentum or 0.0 for m in self.norms for _ in range(2)]
        self.values = [b for m in self.norms for b in (m.running_mean, m.running_var) if b is not None]
        self.before = [value.clone() for value in self.values]
        self.changes = [torch.zeros_like(value) for value in self.values]

    @torch.no_grad()
    def took(self, later: int | None) -> None:
        """A batch was heard that ``later`` others of the step follow; None: it does not count."""
        for value, before, change, momentum in zip(self.values, self.before, self.changes, self.momenta, strict=True):
            if later is not None:
                change += (1 - momentum) ** later * (value - before)
            value.copy_(before)

    @torch.no_grad()
    def end(self, team: Team) -> None:
        """Put the statistics after the whole step in place."""
        if not self.values:
            return
        total = team.sum(torch.cat(self.changes))
        for value, change in zip(self.values, total.split([len(c) for c in self.changes]), strict=True):
            value += change
