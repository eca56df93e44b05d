"""Pre-norm Transformer blocks with dropout and stochastic depth; padding is never attended to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from affetto.learn.layers.attention import MultiHeadAttention


def drop_path(x: Tensor, probability: float, training: bool) -> Tensor:
    """Stochastic depth (Huang et al. 2016): zero whole rows of a branch [B ...], the rest scaled to match."""
    if not training or probability == 0.0:
        return x
    keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= probability
    return x * keep.to(x.dtype) / (1.0 - probability)


class FeedForward(nn.Module):
    """The position-wise part of a block: [.. D] -> [.. D] through `expansion` times D."""

    def __init__(self, dim: int, *, expansion: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = nn.Linear(dim, expansion * dim)
        self.down = nn.Linear(expansion * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[.. D] -> [.. D]."""
        return self.down(self.dropout(nn.functional.gelu(self.up(x))))


class SelfBlock(nn.Module):
    """Self-attention, then feed-forward, each on a normalised copy and added back (Xiong et al. 2020)."""

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.stochastic_depth = stochastic_depth
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, heads, dropout=dropout, rotary=rotary)
        self.feed_norm = nn.LayerNorm(dim)
        self.feed = FeedForward(dim, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [B T D]; mask: [B T] bool. What comes out at padded steps is for nobody to read."""
        normal = self.attention_norm(x)
        x = x + self._branch(self.attention(normal, normal, mask))
        return x + self._branch(self.feed(self.feed_norm(x)))

    def _branch(self, x: Tensor) -> Tensor:
        return drop_path(self.dropout(x), self.stochastic_depth, self.training)


class CrossBlock(nn.Module):
    """Queries read a memory, then feed-forward, pre-norm. A row without memory passes its queries through."""

    def __init__(self, dim: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(dim)
        self.memory_norm = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, heads, dropout=dropout)
        self.feed_norm = nn.LayerNorm(dim)
        self.feed = FeedForward(dim, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """queries: [B Q D]; memory: [B T D]; memory_mask: [B T] bool. Returns [B Q D]."""
        read = self.attention(self.query_norm(queries), self.memory_norm(memory), memory_mask)
        queries = queries + self.dropout(read)
        return queries + self.dropout(self.feed(self.feed_norm(queries)))


class Transformer(nn.Module):
    """A stack of `SelfBlock`s and a last normalisation; the stochastic depth rises with depth."""

    def __init__(
        self,
        dim: int,
        heads: int,
        layers: int,
        *,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SelfBlock(
                dim,
                heads,
                dropout=dropout,
                stochastic_depth=stochastic_depth * (i + 1) / layers,
                rotary=rotary,
            )
            for i in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [B T D]; mask: [B T] bool. Returns [B T D], zero at padded steps."""
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x) * mask[..., None].to(x.dtype)
