"""Feature-level fusion: the pooled vectors side by side, then a small network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from affetto.learn.fusion.views import FUSED, AbsentVectors, UnimodalViews, Views, fused_presence, with_absent
from affetto.records import Track


class Concat(nn.Module):
    """`fused` reads all pooled vectors at once, a learned one for each absent modality."""

    vote = FUSED

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.modalities = modalities
        self.views = (FUSED, *modalities)
        self.dim = dim
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
        tracks = with_absent(tracks, self.modalities, self.dim)
        vectors, present = self.unimodal(tracks)
        parts = self.absent(vectors, present)
        everything = fused_presence(present)
        fused = self.mix(torch.cat(parts, dim=-1))
        steps = torch.stack(parts, dim=1)
        track = Track(steps, everything[:, None].expand(-1, steps.shape[1]))
        return Views({FUSED: fused, **vectors}, {FUSED: track, **tracks}, {FUSED: everything, **present})
