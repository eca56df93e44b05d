"""Multi-head attention made of plain Linear layers, safe when a row has no key at all.

`scaled_dot_product_attention` gets 4-D tensors (the ONNX exporter needs them), and the projections stay
`nn.Linear`, so that adapters and quantisation reach every weight.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension of the real ones alone: scores and mask (bool) [.. T] -> [.. T].

    Zeros where none is real.
    """
    return torch.softmax(scores.masked_fill(~mask, -1e4), dim=-1) * mask.to(scores.dtype)


class MultiHeadAttention(nn.Module):
    """Queries [B Tq D] attend to keys [B Tk D] (Vaswani et al. 2017); a row without a real key answers zeros.

    `rotary` turns queries and keys by their position (Su et al. 2021, "RoFormer"): only differences of
    positions matter, and no length is the longest.

    Raises ValueError when `dim` is not a multiple of `heads` (and, with `rotary`, of twice that).
    """

    def __init__(self, dim: int, heads: int, *, dropout: float = 0.0, rotary: bool = False) -> None:
        super().__init__()
        if dim % heads or (rotary and dim % (2 * heads)):
            unit = 2 * heads if rotary else heads
            raise ValueError(f"width {dim} is not a multiple of {unit}, as {heads} heads need")
        self.heads = heads
        self.dropout = dropout
        self.rotary = rotary
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)  # a bias would shift all scores of a query alike
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        half = dim // heads // 2
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float32) / max(half, 1))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        key_mask: Tensor,
        bias: Tensor | None = None,
        *,
        values: Tensor | None = None,
    ) -> Tensor:
        """key_mask: [B Tk] bool, True = real; bias: [B H Tq Tk], finite, added to the scores.

        values: [B Tk D], what is read where it is not the keys themselves. Returns [B Tq D].
        """
        values = keys if values is None else values
        q, k, v = (
            self._split(project(x))
            for project, x in ((self.query, queries), (self.key, keys), (self.value, values))
        )
        if self.rotary:
            q, k = self._rotate(q), self._rotate(k)
        any_key = key_mask.any(dim=1)
        # A softmax over nothing is NaN: rows without a key attend to the padding and are zeroed afterwards.
        allowed = (key_mask | ~any_key[:, None])[:, None, None, :]
        mask = allowed if bias is None else torch.where(allowed, bias.to(q.dtype), -torch.inf)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        mixed = mixed.transpose(1, 2).flatten(2)
        return self.out(mixed) * any_key[:, None, None].to(mixed.dtype)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _rotate(self, x: Tensor) -> Tensor:
        positions = torch.arange(x.shape[2], device=x.device, dtype=x.dtype)
        angles = positions[:, None] * self.get_buffer("frequencies").to(x.dtype)
        cos, sin = angles.cos(), angles.sin()
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
