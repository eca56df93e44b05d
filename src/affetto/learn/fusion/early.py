"""Early fusion: frames of all modalities on one clock, joined one by one before a joint encoder."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from affetto.learn.fusion.views import FUSED, AbsentVectors, UnimodalViews, Views
from affetto.learn.layers.alignment import on_clock, places
from affetto.learn.layers.transformer import Transformer
from affetto.records import Track


class Early(nn.Module):
    """z = Transformer(W [x_1(i); ...; x_M(i)]) for i = 1 .. S,  fused = mean of the z_i.

    x_m(i): [B D], modality m at the i-th of S = `steps` moments, evenly spread over the recording, where a
    learned vector stands in for an absent modality; W: [D MD]; z: [B S D], in order. Input-level fusion
    (Morency et al. 2011, "Towards Multimodal Sentiment Analysis"; as a network Williams et al. 2018, "DNN
    Multimodal Fusion Techniques for Predicting Video Sentiment") as early as Tracks allow: samples, words and
    pixels have no common frame, so an encoder first turns each into frames, which meet before any is pooled.
    Without the encoders, a step costs 4 times what concat's does: a Transformer runs over S steps.
    """

    vote = FUSED

    def __init__(
        self,
        modalities: tuple[str, ...],
        dim: int,
        *,
        steps: int = 32,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.timed = modalities
        self.steps = steps
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.absent = AbsentVectors(modalities, dim)
        self.join = nn.Linear(dim * len(modalities), dim)
        self.encoder = Transformer(dim, heads, layers, dropout=dropout, rotary=True)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality, with or without times; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        spread = list(heard.tracks.values())
        clock = (torch.arange(self.steps, device=heard.there.device) + 0.5)[None] / self.steps
        width = 0.5 / self.steps
        frames = [on_clock(x, place, clock, width) for x, place in zip(spread, places(spread), strict=True)]
        x = self.absent(torch.stack(frames, dim=2), heard.there[:, None])  # [B S M D]
        mask = torch.ones_like(x[..., 0, 0], dtype=torch.bool)
        z = self.encoder(self.join(x.flatten(2)), mask)
        return heard.with_fused(z.mean(dim=1), Track(z, mask))
