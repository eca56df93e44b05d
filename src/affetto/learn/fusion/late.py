"""Late (decision level) fusion: one view per modality, and only the vote brings them together."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from affetto.learn.fusion.views import UnimodalViews, Views
from affetto.records import Track


class Late(nn.Module):
    """No fused view: x_m [B D] by modality, pooled, each with a head of its own; the vote merges the heads' answers.

    vote "learned": log p = sum of s_m log p_m, the default, which begins as the product of experts (Hinton
    2002); "mean": p = mean of p_m (Kittler et al. 1998); "validated": that mean, weighted by each one's score
    on the validation clips; "majority": the class that most name. All over the modalities present.
    """

    vote = "learned"

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.views = modalities
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        return self.unimodal(tracks)
