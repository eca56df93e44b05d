"""Late (decision level) fusion: one view per modality, and only the vote brings them together."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from affetto.learn.fusion.views import UnimodalViews, Views, with_absent
from affetto.records import Track


class Late(nn.Module):
    """Unimodal views alone; the default vote is learned and begins as the product of experts."""

    vote = "learned"

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.views = modalities
        self.dim = dim
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        tracks = with_absent(tracks, self.views, self.dim)
        vectors, present = self.unimodal(tracks)
        return Views(vectors, tracks, present)
