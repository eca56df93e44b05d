"""Attention bottlenecks: modalities tell each other only what fits into a few shared tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affetto.learn.fusion.views import FUSED, UnimodalViews, Views
from affetto.learn.layers.transformer import SelfBlock
from affetto.records import Track


class Bottleneck(nn.Module):
    """In each layer [x_m; b_m] = Block_m([x_m; b]) for every m, then b = mean of the b_m of those present.

    x_m: [B T_m D], the Track; b: [B K D], K = `tokens` learned bottlenecks; fused: the mean of the last b
    over K. Nagrani et al. 2021, "Attention Bottlenecks for Multimodal Fusion" (MBT; there the answer is read
    off summary tokens). Absent modalities have no say. Without the encoders, a step costs 7 times what concat's
    does: every modality has a Transformer of its own over all its steps.
    """

    vote = FUSED

    def __init__(
        self,
        modalities: tuple[str, ...],
        dim: int,
        *,
        tokens: int = 4,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.bottleneck = nn.Parameter(torch.randn(1, tokens, dim) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: SelfBlock(dim, heads, dropout=dropout) for name in modalities})
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        x = {name: track.values for name, track in heard.tracks.items()}
        b = self.bottleneck.expand(heard.there.shape[0], -1, -1)
        shared = torch.ones_like(b[..., 0], dtype=torch.bool)
        for blocks in self.layers:
            said = []
            for name, block in blocks.items():  # type: ignore[operator]
                mask = torch.cat([heard.tracks[name].mask, shared], dim=1)
                together = block(torch.cat([x[name], b], dim=1), mask)
                x[name], told = together[:, : -b.shape[1]], together[:, -b.shape[1] :]
                said.append(told)
            b = _mean(torch.stack(said, dim=1), heard.there, b)
        b = self.norm(b)
        return heard.with_fused(b.mean(dim=1), Track(b, shared))


def _mean(said: Tensor, there: Tensor, before: Tensor) -> Tensor:
    """Mean over those present: said [B M K D], there [B M] bool -> [B K D]; `before` where nobody is."""
    keep = there[..., None, None].to(said.dtype)
    mean = (said * keep).sum(dim=1) / keep.sum(dim=1).clamp(min=1.0)
    return torch.where(there.any(dim=1)[:, None, None], mean, before)
