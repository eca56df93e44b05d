"""Concatenation: the pooled vectors side by side, then a small network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from affetto.learn.fusion.views import FUSED, AbsentVectors, UnimodalViews, Views
from affetto.records import Track


class Concat(nn.Module):
    """fused = gelu(W norm([x_1; ...; x_M]) + b), a learned vector for each absent modality.

    x_m, fused: [B D]; W: [D MD]. Ngiam et al. 2011, "Multimodal Deep Learning"; the baseline of the field.
    """

    vote = FUSED

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.absent = AbsentVectors(modalities, dim)
        self.mix = nn.Sequential(
            nn.LayerNorm(dim * len(modalities)),
            nn.Linear(dim * len(modalities), dim),
            nn.GELU(),
            nn.Dropout(dropout),
        )

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        x = self.absent(heard.stacked, heard.there)
        return heard.with_fused(self.mix(x.flatten(1)), Track(x, torch.ones_like(heard.there)))
