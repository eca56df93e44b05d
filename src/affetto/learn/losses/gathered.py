"""Rows of all ranks, for losses that compare every row with every other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def gather_rows(rows: Tensor) -> Tensor:
    """The rows [B ...] of all ranks, in the order of the ranks: [R B ...]. Alone, the rows themselves.

    Every rank must bring as many. Gradients come back: where each rank works out the whole loss and DDP takes
    the mean of the ranks' gradients, what comes out is the gradient of one process that has all rows (a
    detached gather, as is often seen, loses the share of the keys).
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return rows
    return _Gather.apply(rows)


def row_numbers(rows: Tensor) -> Tensor:
    """[B]: which rows of `gather_rows(rows)` these are."""
    alone = not (distributed.is_available() and distributed.is_initialized())
    first = 0 if alone else distributed.get_rank() * len(rows)
    return torch.arange(first, first + len(rows), device=rows.device)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        ctx.count = len(rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every rank's loss depends on these rows.
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        start = distributed.get_rank() * ctx.count
        return total[start : start + ctx.count]
