"""Addition: the modalities are brought into one space, where they add up."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from affetto.learn.fusion.views import FUSED, PerModality, UnimodalViews, Views
from affetto.records import Track


class Add(nn.Module):
    """fused = gelu(norm(sum of W_m x_m)) over the modalities present; an absent one adds nothing.

    x_m, fused: [B D]. Sum fusion of Feichtenhofer et al. 2016, "Convolutional Two-Stream Network Fusion"; the
    norm keeps the sum as large with one modality as with all.
    """

    vote = FUSED

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.features = PerModality(modalities, dim, dim)
        self.out = nn.Sequential(nn.LayerNorm(dim), nn.GELU(), nn.Dropout(dropout))

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        x = self.features(heard.stacked) * heard.there[..., None]
        return heard.with_fused(self.out(x.sum(dim=1)), Track(x, heard.there))
