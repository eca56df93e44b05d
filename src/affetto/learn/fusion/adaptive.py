"""Adaptive fusion: each modality's reliability is estimated from its own input, before any of them is mixed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from affetto.learn.fusion.views import FUSED, PerModality, UnimodalViews, Views
from affetto.learn.layers.pooling import masked_statistics
from affetto.records import Track


class Adaptive(nn.Module):
    """fused = gelu(norm(sum of a_m W_m x_m)),  a_m = 2 sigmoid(r_m),  r_m = u_m . gelu(U_m [mu; sigma]).

    mu, sigma: [B D], mean and deviation over time of the modality's own Track, which show noise that the
    pooled vector x_m [B D] was trained to overlook; r, a: [B M]. What a modality is worth depends on nothing
    but its own quality, as in Zhang et al. 2023, "Provable Dynamic Fusion for Low-Quality Multimodal Data"
    (there an energy of the modality's answer, here an estimate from its input). r begins at zero, and the form
    as `add`. `weights` are a, normalised over the modalities present.
    """

    vote = FUSED

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.features = PerModality(modalities, dim, dim)
        self.quality = PerModality(modalities, 2 * dim, dim)
        self.reliability = PerModality(modalities, dim, 1)
        for parameter in self.reliability.parameters():
            nn.init.zeros_(parameter)
        self.out = nn.Sequential(nn.LayerNorm(dim), nn.GELU(), nn.Dropout(dropout))

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        statistics = [masked_statistics(track.values, track.mask) for track in heard.tracks.values()]
        quality = nn.functional.gelu(self.quality(torch.stack(statistics, dim=1)))
        trust = 2 * torch.sigmoid(self.reliability(quality)[..., 0]) * heard.there
        said = trust[..., None] * self.features(heard.stacked)
        shares = trust / trust.sum(dim=1, keepdim=True).clamp(min=1e-6)
        return heard.with_fused(self.out(said.sum(dim=1)), Track(said, heard.there), shares)
