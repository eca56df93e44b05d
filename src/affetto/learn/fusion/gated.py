"""Gated multimodal units: how much each modality says depends on all of them (Arevalo et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affetto.learn.fusion.views import FUSED, AbsentVectors, UnimodalViews, Views, fused_presence, with_absent
from affetto.records import Track


class Gated(nn.Module):
    """fused = sum of z_m * tanh(W_m x_m), each gate z_m in (0, 1) per feature, from all modalities at once.

    The gates read a learned vector for an absent modality, which itself adds nothing. `weights` are the means
    of the gates over features, normalised over the modalities present; `fused`, their mixture, has weight 0.
    """

    vote = FUSED

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.modalities = modalities
        self.views = (FUSED, *modalities)
        self.dim = dim
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.absent = AbsentVectors(modalities, dim)
        self.features = nn.ModuleDict({name: nn.Linear(dim, dim) for name in modalities})
        self.gates = nn.Linear(dim * len(modalities), dim * len(modalities))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        tracks = with_absent(tracks, self.modalities, self.dim)
        vectors, present = self.unimodal(tracks)
        parts = self.absent(vectors, present)
        there = torch.stack([present[name] for name in self.modalities], dim=1)
        opened = torch.sigmoid(self.gates(torch.cat(parts, dim=-1))).unflatten(-1, (len(parts), self.dim))
        gates = opened * there[..., None].to(opened.dtype)
        layers = self.features.values()
        said = torch.stack([torch.tanh(layer(x)) for layer, x in zip(layers, parts, strict=True)], dim=1)
        steps = gates * said
        everything = fused_presence(present)
        return Views(
            {FUSED: self.dropout(steps.sum(dim=1)), **vectors},
            {FUSED: Track(steps, there), **tracks},
            {FUSED: everything, **present},
            _weights(gates),
        )


def _weights(gates: Tensor) -> Tensor:
    """Gates [B M D], zero where absent, to weights [B 1 + M] that sum to 1 (or 0 where nothing is there)."""
    opened = gates.mean(dim=-1)
    shares = opened / opened.sum(dim=1, keepdim=True).clamp(min=1e-6)
    return torch.cat([torch.zeros_like(shares[:, :1]), shares], dim=1)
