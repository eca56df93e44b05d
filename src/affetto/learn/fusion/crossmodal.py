"""Crossmodal fusion: the text asks, speech and vision answer, each word from its own moment."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affetto.learn.fusion.views import FUSED, UnimodalViews, Views, fused_presence, with_absent
from affetto.learn.layers.alignment import AlignedAttention, time_gaps
from affetto.learn.layers.transformer import SelfBlock
from affetto.records import Track

_ASKS = "text"


class Crossmodal(nn.Module):
    """Text tokens read the speech and the vision frames of their own time, then tell each other.

    Beside the text a few learned questions ask, which have no time and so hear the whole recording; `fused`
    is the mean of what they have gathered. Without text they ask alone. A layer is one crossmodal attention
    per answering modality (Tsai et al. 2019, "Multimodal Transformer") and one self-attention of all who ask.
    Tracks may carry times, NaN where unknown; without them the words read the whole recording as well.

    Raises ValueError when the model reads no text.
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
        if _ASKS not in modalities:
            raise ValueError(f"crossmodal fusion needs text, which asks, beside {', '.join(modalities)}")
        self.modalities = modalities
        self.views = (FUSED, *modalities)
        self.answers = tuple(name for name in modalities if name != _ASKS)
        self.timed = modalities if self.answers else ()
        self.dim = dim
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.questions = nn.Parameter(torch.randn(1, tokens, dim) * 0.02)
        self.readers = nn.ModuleList(
            nn.ModuleDict({name: AlignedAttention(dim, heads, dropout=dropout) for name in self.answers})
            for _ in range(layers)
        )
        self.blocks = nn.ModuleList(SelfBlock(dim, heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality, with or without times; a missing key is an absent modality."""
        tracks = with_absent(tracks, self.modalities, self.dim)
        vectors, present = self.unimodal(tracks)
        asking = self._asking(tracks[_ASKS])
        x, gaps = asking.values, {name: time_gaps(asking.times, tracks[name].times) for name in self.answers}
        for readers, block in zip(self.readers, self.blocks, strict=True):
            for name, reader in readers.items():  # type: ignore[operator]
                x = reader(x, tracks[name].values, tracks[name].mask, gaps[name])
            x = block(x, asking.mask)
        x = self.norm(x)
        everything = fused_presence(present)
        track = Track(x, asking.mask & everything[:, None], asking.times)
        gathered = x[:, : self.questions.shape[1]].mean(dim=1)
        return Views({FUSED: gathered, **vectors}, {FUSED: track, **tracks}, {FUSED: everything, **present})

    def _asking(self, text: Track) -> Track:
        """The questions [B K D], always there and timeless, followed by the text."""
        questions = self.questions.expand(text.values.shape[0], -1, -1)
        there = torch.ones_like(questions[..., 0], dtype=torch.bool)
        values, mask = torch.cat([questions, text.values], dim=1), torch.cat([there, text.mask], dim=1)
        return Track(values, mask, _followed(questions[..., 0], text.times))


def _followed(timeless: Tensor, times: Tensor | None) -> Tensor | None:
    """NaN in the shape of `timeless` [B K], then times [B T]; None stays None."""
    if times is None:
        return None
    return torch.cat([torch.full_like(timeless, torch.nan, dtype=times.dtype), times], dim=1)
