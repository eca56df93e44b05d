"""From a sequence [B T D] to one vector, or a few, of the real steps alone; a row without any is constant."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from affetto.learn.layers.attention import MultiHeadAttention


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of the real steps: x [B T D], mask [B T] bool -> [B D]; zeros where there are none."""
    keep = mask[..., None].to(x.dtype)
    return (x * keep).sum(dim=1) / keep.sum(dim=1).clamp(min=1.0)


def masked_statistics(x: Tensor, mask: Tensor) -> Tensor:
    """Mean and deviation of the real steps side by side: x [B T D], mask [B T] bool -> [B 2D]."""
    mean = masked_mean(x, mask)
    variance = masked_mean((x - mean[:, None]).square(), mask)
    return torch.cat([mean, variance.clamp(min=1e-6).sqrt()], dim=-1)


class AttentiveStatistics(nn.Module):
    """Weighted mean and deviation over time, the weights learned: [B T D] -> [B 2D].

    Okabe et al. 2018, "Attentive Statistics Pooling"; weights of its own for each feature as in Desplanques
    et al. 2020, "ECAPA-TDNN".
    """

    def __init__(self, dim: int, *, hidden: int = 64) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden)
        # No bias: a softmax does not change when all its scores are shifted.
        self.score = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [B T D]; mask: [B T] bool. Returns mean and deviation side by side."""
        keep = mask[..., None]
        scores = self.score(torch.tanh(self.hidden(x))).masked_fill(~keep, -1e4)
        weights = torch.softmax(scores, dim=1) * keep.to(x.dtype)
        mean = (weights * x).sum(dim=1)
        variance = (weights * (x - mean[:, None]).square()).sum(dim=1)
        return torch.cat([mean, variance.clamp(min=1e-6).sqrt()], dim=-1)


class QueryPooling(nn.Module):
    """Learned queries read the sequence by attention (as in Lee et al. 2019): [B T D] -> [B Q D]."""

    def __init__(self, dim: int, queries: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, dim) * 0.02)
        self.norm = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, heads, dropout=dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [B T D]; mask: [B T] bool."""
        queries = self.queries.expand(x.shape[0], -1, -1)
        return self.attention(queries, self.norm(x), mask)
