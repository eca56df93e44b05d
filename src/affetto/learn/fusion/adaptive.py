"""Adaptive fusion: each modality's reliability is estimated from its own input, before any of them is mixed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from affetto.learn.fusion.views import FUSED, PerModality, UnimodalViews, Views
from affetto.learn.layers.attention import masked_softmax
from affetto.learn.layers.pooling import masked_statistics
from affetto.records import Track


class Adaptive(nn.Module):
    """fused = sum of a_m tanh(W_m x_m),  a = softmax of r_m over those present,  r_m = u_m . gelu(U_m [mu; sigma]).

    mu, sigma: [B D], mean and deviation over time of the modality's own Track, which show noise that the
    pooled vector x_m [B D] was trained to overlook; r, a: [B M]. What a modality is worth depends on nothing
    but its own quality, as in Zhang et al. 2023, "Provable Dynamic Fusion for Low-Quality Multimodal Data"
    (there an energy of the modality's answer, here an estimate from its input). `weights` are a.
    """

    vote = FUSED

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.features = PerModality(modalities, dim, dim)
        self.quality = PerModality(modalities, 2 * dim, dim)
        self.reliability = PerModality(modalities, dim, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        statistics = [masked_statistics(track.values, track.mask) for track in heard.tracks.values()]
        quality = nn.functional.gelu(self.quality(torch.stack(statistics, dim=1)))
        shares = masked_softmax(self.reliability(quality)[..., 0], heard.there)
        said = shares[..., None] * torch.tanh(self.features(heard.stacked))
        return heard.with_fused(self.dropout(said.sum(dim=1)), Track(said, heard.there), shares)
