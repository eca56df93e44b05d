"""Hybrid fusion, the default: a fused view by attention over all modalities, and one view per modality."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affetto.learn.fusion.views import FUSED, UnimodalViews, Views, fused_presence, with_absent
from affetto.learn.layers.pooling import QueryPooling
from affetto.learn.layers.transformer import Transformer
from affetto.records import Track


class Hybrid(nn.Module):
    """Each Track is read into a few tokens; a small Transformer lets all tokens attend to each other.

    Its cost does not grow with the recording beyond the reading. The tokens of an absent modality are
    learned, so attention always has something to see. `fused` is what a summary token has gathered.
    """

    vote = "learned"

    def __init__(
        self,
        modalities: tuple[str, ...],
        dim: int,
        *,
        tokens: int = 4,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.modalities = modalities
        self.views = (FUSED, *modalities)
        self.dim = dim
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.readers = nn.ModuleDict(
            {name: QueryPooling(dim, tokens, heads, dropout=dropout) for name in modalities}
        )
        self.absent = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(1, tokens, dim) * 0.02) for name in modalities}
        )
        self.summary = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.transformer = Transformer(dim, heads, layers, dropout=dropout)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        tracks = with_absent(tracks, self.modalities, self.dim)
        vectors, present = self.unimodal(tracks)
        x = torch.cat([self._tokens(name, tracks[name], present[name]) for name in self.modalities], dim=1)
        x = torch.cat([self.summary.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.transformer(x, torch.ones_like(x[..., 0], dtype=torch.bool))
        everything = fused_presence(present)
        track = Track(x[:, 1:], everything[:, None].expand(-1, x.shape[1] - 1))
        return Views({FUSED: x[:, 0], **vectors}, {FUSED: track, **tracks}, {FUSED: everything, **present})

    def _tokens(self, name: str, track: Track, present: Tensor) -> Tensor:
        """[B K D]: what the modality's reader found (its bias says which modality), or the stand-ins."""
        read = self.readers[name](track.values, track.mask)
        return torch.where(present[:, None, None], read, self.absent[name])
