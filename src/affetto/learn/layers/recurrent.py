"""A bidirectional GRU that starts each row's backward pass at its own last real step."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaskedBiGru(nn.Module):
    """[B T D] -> [B T 2H], zero at padded steps (Cho et al. 2014; Schuster & Paliwal 1997).

    Real steps come first in every row, so the forward pass never sees padding; for the backward pass each
    row's real steps are reversed in place, which needs no packing and no lengths on the CPU.

    Raises ValueError for less than one layer.
    """

    def __init__(self, dim: int, hidden: int, layers: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers {layers}: expected at least 1 recurrent layer")
        sizes = [dim] + [2 * hidden] * (layers - 1)
        self.ahead = nn.ModuleList(nn.GRU(size, hidden, batch_first=True) for size in sizes)
        self.back = nn.ModuleList(nn.GRU(size, hidden, batch_first=True) for size in sizes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [B T D]; mask: [B T] bool, real steps first."""
        lengths = mask.sum(dim=1, keepdim=True)
        steps = torch.arange(x.shape[1], device=x.device)[None, :]
        order = torch.where(mask, lengths - 1 - steps, steps)[..., None]
        keep = mask[..., None].to(x.dtype)
        for ahead, back in zip(self.ahead, self.back, strict=True):
            x = self.dropout(x)
            backward = back(_reorder(x, order))[0]
            x = torch.cat([ahead(x)[0], _reorder(backward, order)], dim=-1) * keep
        return x


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(1, order.expand(-1, -1, x.shape[2]))
