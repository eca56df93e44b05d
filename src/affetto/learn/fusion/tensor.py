"""Low-rank tensor fusion: every product of the modalities' features, without the tensor of their weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from affetto.learn.fusion.views import FUSED, PerModality, UnimodalViews, Views
from affetto.records import Track


class LowRankTensor(nn.Module):
    """fused = sum over ranks r of w_r * (product over m of W_m^r [x_m; 1]) + b, products feature by feature.

    x_m, b, fused: [B D]; W_m^r: [D D+1]; w: [R]. Liu et al. 2018, "Efficient Low-rank Multimodal Fusion with
    Modality-Specific Factors" (LMF): equal to a linear map of the outer product of all [x_m; 1] (Zadeh et al.
    2017, "Tensor Fusion Network") whose weights have rank R. The factors begin around 1, so that the product
    begins near the sum of its parts; an absent modality is a factor of exactly 1.
    """

    vote = FUSED

    def __init__(self, modalities: tuple[str, ...], dim: int, *, rank: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.factors = PerModality(modalities, dim, rank * dim)
        for factor in self.factors.maps.values():
            nn.init.ones_(factor.get_parameter("bias"))
        self.ranks = nn.Parameter(torch.full((rank,), 1.0 / rank))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        factors = torch.where(heard.there[..., None], self.factors(heard.stacked), 1.0)
        product = factors.unflatten(-1, (len(self.ranks), -1)).prod(dim=1)  # [B R D]
        fused = (self.ranks[:, None] * product).sum(dim=1) + self.bias
        return heard.with_fused(self.dropout(fused), Track(heard.stacked, heard.there))
