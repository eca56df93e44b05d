"""Gated multimodal units: how much each modality says depends on all of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affetto.learn.fusion.views import FUSED, AbsentVectors, PerModality, UnimodalViews, Views
from affetto.records import Track


class Gated(nn.Module):
    """fused = sum of z_m * tanh(W_m x_m),  z = sigmoid(V [x_1; ...; x_M]): a gate per modality and feature.

    x_m, z_m, fused: [B D]; V: [MD MD]. Arevalo et al. 2017, "Gated Multimodal Units for Information Fusion".
    The gates read a learned vector for an absent modality, which itself adds nothing. `weights` are the means
    of the gates over features, normalised over the modalities present.
    """

    vote = FUSED

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.absent = AbsentVectors(modalities, dim)
        self.features = PerModality(modalities, dim, dim)
        self.gates = nn.Linear(dim * len(modalities), dim * len(modalities))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        x = self.absent(heard.stacked, heard.there)
        gates = torch.sigmoid(self.gates(x.flatten(1))).unflatten(-1, x.shape[1:]) * heard.there[..., None]
        said = gates * torch.tanh(self.features(x))
        fused = self.dropout(said.sum(dim=1))
        return heard.with_fused(fused, Track(said, heard.there), _shares(gates))


def _shares(gates: Tensor) -> Tensor:
    """Gates [B M D], zero where absent, to shares [B M] that sum to 1 (or 0 where nothing is there)."""
    opened = gates.mean(dim=-1)
    return opened / opened.sum(dim=1, keepdim=True).clamp(min=1e-6)
