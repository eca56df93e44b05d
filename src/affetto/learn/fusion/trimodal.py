"""Tri-modal attention: one modality asks, a second is searched, a third answers; and every pair beside it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn

from affetto.learn.fusion.crossmodal import asking
from affetto.learn.fusion.views import FUSED, UnimodalViews, Views
from affetto.learn.layers.alignment import AlignedAttention, on_clock, places, time_gaps
from affetto.learn.layers.attention import MultiHeadAttention
from affetto.learn.layers.transformer import SelfBlock
from affetto.records import Track

_ASKS = "text"


class Trimodal(nn.Module):
    """In each layer, for the steps x of the modality that asks (Q text, K speech, V vision):

    x <- x + tanh(g_n) attention(Q = x, K = V = y_n) for each other modality n, near moments first,
    x <- x + tanh(g) attention(Q = x, K = y_k, V = y_v on the clock of y_k) for each two others, x <- Block(x).

    x: [B J+T D], J = `tokens` learned questions, which go on asking where that modality is absent, before its
    T steps; y_n: [B T_n D]; fused: the mean of the questions [B D]. Attention is that of Vaswani et al. 2017
    with a third source for its values: what is seen (V) in the moments whose sound (K) fits the word (Q). The
    pairs are those of Tsai et al. 2019. With K or V absent, and at first, the query passes unchanged. Text
    asks; in a model without text the first modality does. Without the encoders, a step costs 6 times what
    concat's does: every word reads every frame, once per pair and once for the triple.
    """

    vote = FUSED

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
        self.views = (FUSED, *modalities)
        self.asks = _ASKS if _ASKS in modalities else modalities[0]
        self.answers = tuple(name for name in modalities if name != self.asks)
        self.timed = modalities if self.answers else ()
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.questions = nn.Parameter(torch.randn(1, tokens, dim) * 0.02)
        self.layers = nn.ModuleList(_Layer(self.answers, dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality, with or without times; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        asks = asking(self.questions, heard.tracks[self.asks])
        answers = {name: heard.tracks[name] for name in self.answers}
        gaps = {name: time_gaps(asks.times, track.times) for name, track in answers.items()}
        x, aligned = asks.values, _aligned(answers)
        for layer in self.layers:
            x = layer(x, asks.mask, answers, gaps, aligned)
        x = self.norm(x)
        gathered = x[:, : self.questions.shape[1]].mean(dim=1)
        return heard.with_fused(gathered, Track(x, asks.mask, asks.times))


def _aligned(tracks: Mapping[str, Track]) -> dict[tuple[str, str], Track]:
    """For each two (k, v): the values of v [B Tk D] on the clock of k, real where k is and v has any step."""
    aligned = {}
    for k, v in combinations(tracks, 2):
        mask = tracks[k].mask
        clock, place = places([tracks[k], tracks[v]])
        values = on_clock(tracks[v], place, clock, 0.5 / mask.sum(dim=1).clamp(min=1)[:, None, None])
        aligned[k, v] = Track(values, mask & tracks[v].mask.any(dim=1, keepdim=True))
    return aligned


class _Layer(nn.Module):
    """One layer of the above."""

    def __init__(self, answers: tuple[str, ...], dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.pairs = nn.ModuleDict({n: AlignedAttention(dim, heads, dropout=dropout) for n in answers})
        self.triples = nn.ModuleDict(
            {
                k: nn.ModuleDict({v: TripleAttention(dim, heads, dropout=dropout) for v in answers[i + 1 :]})
                for i, k in enumerate(answers[:-1])
            }
        )
        self.block = SelfBlock(dim, heads, dropout=dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        answers: Mapping[str, Track],
        gaps: Mapping[str, Tensor | None],
        aligned: Mapping[tuple[str, str], Track],
    ) -> Tensor:
        """x: [B T D], mask: [B T] of those who ask. Returns x after it has read the answers, and itself."""
        for name, read in self.pairs.items():
            x = read(x, answers[name].values, answers[name].mask, gaps[name])
        for (k, v), seen in aligned.items():
            x = self.triples[k][v](x, answers[k].values, seen.values, seen.mask)  # type: ignore[index]
        return self.block(x, mask)


class TripleAttention(nn.Module):
    """x + tanh(gate) * attention(Q = x, K = keys, V = values): one source is searched, another one answers."""

    def __init__(self, dim: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(dim)
        self.key_norm = nn.LayerNorm(dim)
        self.value_norm = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, heads, dropout=dropout)
        self.gate = nn.Parameter(torch.zeros(1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """queries: [B Tq D]; keys, values: [B Tk D]; mask: [B Tk] bool. Returns [B Tq D]."""
        read = self.attention(
            self.query_norm(queries), self.key_norm(keys), mask, values=self.value_norm(values)
        )
        return queries + torch.tanh(self.gate) * self.dropout(read)
