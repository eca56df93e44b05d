"""Crossmodal fusion: the text asks, speech and vision answer, each word from its own moment."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affetto.learn.fusion.views import FUSED, UnimodalViews, Views
from affetto.learn.layers.alignment import AlignedAttention, time_gaps
from affetto.learn.layers.transformer import SelfBlock
from affetto.records import Track

_ASKS = "text"


class Crossmodal(nn.Module):
    """In each layer, for the words' steps x: x <- x + tanh(g_n) attention(Q = x, K = V = y_n) for each other
    modality n, each word reading the frames y_n of its own time first; then x <- Block(x).

    x: [B J+T D], J = `tokens` learned questions, which have no time and so hear the whole recording, before
    the T words; y_n: [B T_n D]; fused: the mean of the questions [B D]. Without text they ask alone. Tsai et
    al. 2019, "Multimodal Transformer", from the text's side. Tracks may carry times, NaN where unknown;
    without them the words read the whole recording as well. Without the encoders, a step costs 5 times what
    concat's does: every word reads every frame.

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
        self.views = (FUSED, *modalities)
        self.answers = tuple(name for name in modalities if name != _ASKS)
        self.timed = modalities if self.answers else ()
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
        heard = self.unimodal(tracks)
        answers = {name: heard.tracks[name] for name in self.answers}
        asks = asking(self.questions, heard.tracks[_ASKS])
        x, gaps = asks.values, {name: time_gaps(asks.times, track.times) for name, track in answers.items()}
        for readers, block in zip(self.readers, self.blocks, strict=True):
            for name, reader in readers.items():  # type: ignore[operator]
                x = reader(x, answers[name].values, answers[name].mask, gaps[name])
            x = block(x, asks.mask)
        x = self.norm(x)
        gathered = x[:, : self.questions.shape[1]].mean(dim=1)
        return heard.with_fused(gathered, Track(x, asks.mask, asks.times))


def asking(questions: Tensor, track: Track) -> Track:
    """Questions [1 K D], always there and timeless, followed by a Track [B T D]: [B K+T D]."""
    questions = questions.expand(track.values.shape[0], -1, -1)
    there = torch.ones_like(questions[..., 0], dtype=torch.bool)
    values, mask = torch.cat([questions, track.values], dim=1), torch.cat([there, track.mask], dim=1)
    return Track(values, mask, _followed(questions[..., 0], track.times))


def _followed(timeless: Tensor, times: Tensor | None) -> Tensor | None:
    """NaN in the shape of `timeless` [B K], then times [B T]; None stays None."""
    if times is None:
        return None
    return torch.cat([torch.full_like(timeless, torch.nan, dtype=times.dtype), times], dim=1)
