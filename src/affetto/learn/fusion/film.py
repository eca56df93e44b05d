"""Feature-wise linear modulation: what the others say scales and shifts each modality's features."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from affetto.learn.fusion.views import FUSED, PerModality, UnimodalViews, Views
from affetto.records import Track


class Film(nn.Module):
    """fused = mean of y_m,  y_m = (1 + s_m) * x_m + t_m,  [s_m; t_m] = F_m c_m,  c_m = mean of the others' x_n.

    All means are over the modalities present; x_m, c_m, s_m, t_m, y_m, fused: [B D]; F_m is linear. Perez et
    al. 2018, "FiLM: Visual Reasoning with a General Conditioning Layer"; here every modality is conditioned by
    all others instead of one by one. F begins at zero: at first, and alone always, a modality passes unchanged.
    """

    vote = FUSED

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.modulation = PerModality(modalities, dim, 2 * dim)
        for parameter in self.modulation.parameters():
            nn.init.zeros_(parameter)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        there = heard.there[..., None].to(heard.stacked.dtype)
        x, present = heard.stacked * there, there.sum(dim=1, keepdim=True)
        others = present - there  # [B M 1], how many there are
        context = (x.sum(dim=1, keepdim=True) - x) / others.clamp(min=1.0)
        scale, shift = (self.modulation(context) * (others > 0)).chunk(2, dim=-1)
        y = ((1.0 + scale) * x + shift) * there
        fused = y.sum(dim=1) / present[:, 0].clamp(min=1.0)
        return heard.with_fused(self.dropout(fused), Track(y, heard.there))
