"""Towers: one view per modality, all in one space, where what means the same lies together.

The views are never merged: a word is near the picture of what it names and the sound of its being said, so
each can be searched by each, and a class by its name. Only the vote of a task listens to several.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from affetto.learn.fusion.views import UnimodalViews, Views
from affetto.records import Track

#: The scale at the start, that of a temperature of 0.07, and its bounds: beyond 100 training breaks down.
_FIRST, _LEAST, _MOST = 1 / 0.07, 1.0, 100.0


class Towers(nn.Module):
    """z_m = x_m / |x_m|, [B D]: each modality's Track pooled, projected and set to unit length (Radford et al. 2021).

    `trunk` puts one layer that all modalities share (a residual perceptron) between projection and space.
    """

    vote = "learned"

    def __init__(
        self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1, trunk: bool = False
    ) -> None:
        super().__init__()
        self.views = modalities
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.trunk = _Trunk(dim, dropout) if trunk else nn.Identity()
        first = math.log(_FIRST / _LEAST) / math.log(_MOST / _LEAST)
        self.scale_logit = nn.Parameter(torch.tensor(math.log(first / (1 - first))))
        #: Where a pair and no pair are even odds, for the sigmoid loss: at first at a cosine of one half.
        self.bias = nn.Parameter(torch.tensor(-0.5 * _FIRST))

    @property
    def scale(self) -> Tensor:
        """One over the temperature: learned, and always within 1 to 100 (Radford et al. 2021 cut it off there;
        a sigmoid has the same bounds and a gradient everywhere)."""
        return _LEAST * (_MOST / _LEAST) ** torch.sigmoid(self.scale_logit)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        views = self.unimodal(tracks)
        unit = {name: functional.normalize(self.trunk(x), dim=-1) for name, x in views.vectors.items()}
        return replace(views, vectors=unit)


class _Trunk(nn.Module):
    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, 2 * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * dim, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)
