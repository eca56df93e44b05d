"""The processes ("ranks") that train one model together, and what they tell each other.

Each rank works out its rows of a batch; what was said of all rows is brought together, and every rank works
out the whole loss from it. The gradients that come back are those of the sum of the ranks' losses, so that the
mean over ranks, which DDP and FSDP take, is the gradient of one process that has all rows. A detached gather
would lose the share of all rows but its own; a mean of the ranks' losses is another number wherever the ranks
do not count alike many rows. In a process alone everything here gives back what it got.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _together() else 1


def rank() -> int:
    """Which of them this is, from 0 on."""
    return distributed.get_rank() if _together() else 0


def device() -> torch.device:
    """Where tensors lie that ranks tell each other."""
    return torch.device("cuda" if _together() and distributed.get_backend() == "nccl" else "cpu")


def share(rows: int) -> slice:
    """The rows of a batch that are this rank's: as even as can be, in order; some may get none."""
    size, more = divmod(rows, count())
    first = rank() * size + min(rank(), more)
    return slice(first, first + size + (rank() < more))


def gather_rows(rows: Tensor, total: int) -> Tensor:
    """The rows [b ...] of all ranks, each its `share` of `total`, in their order: [total ...]. With gradients.

    Rows beyond its share, which a rank may bring, do not count.
    """
    if count() == 1:
        return rows
    own = share(total)
    before, after = (
        rows.new_zeros(own.start, *rows.shape[1:]),
        rows.new_zeros(total - own.stop, *rows.shape[1:]),
    )
    return summed(torch.cat([before, rows[: own.stop - own.start], after]))


def summed(values: Tensor) -> Tensor:
    """The sum over ranks, with gradients."""
    return values if count() == 1 else _Sum.apply(values)


def any_of(*flags: bool) -> list[bool]:
    """Which of the flags some rank has raised: so all ranks stop, or save, after the same step."""
    if count() == 1:
        return list(flags)
    raised = torch.tensor(flags, dtype=torch.int32, device=device())
    distributed.all_reduce(raised, distributed.ReduceOp.MAX)
    return [bool(flag) for flag in raised.tolist()]


def wait() -> None:
    """Until every rank is here."""
    if count() > 1:
        distributed.barrier()


@contextmanager
def first_alone() -> Iterator[None]:
    """Rank 0 goes through the block before the others, which find what it left."""
    if rank():
        wait()
    yield
    if rank() == 0:
        wait()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _sum(values: Tensor) -> Tensor:
    # A model that has been trained is on the CPU, of which nccl knows nothing.
    total = values.to(device(), copy=True, memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total.to(values.device)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _sum(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every rank's loss depends on these values.
        return _sum(gradients[0])
