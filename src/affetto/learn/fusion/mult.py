"""Crossmodal attention both ways: every modality reads every other, each pair with a Transformer of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affetto.learn.fusion.views import FUSED, AbsentVectors, UnimodalViews, Views
from affetto.learn.layers.alignment import AlignedAttention, time_gaps
from affetto.learn.layers.pooling import masked_mean
from affetto.learn.layers.transformer import FeedForward, SelfBlock
from affetto.records import Track


class Mult(nn.Module):
    """fused = W [p_1; ...; p_M],  p_m = mean over time of Block_m(W_m [z_1->m; ...; z_M->m]), n->m for n != m.

    z_n->m = x_m that has read x_n in `layers` steps: z <- z + tanh(g) attention(Q = z, K = V = x_n), then z <-
    z + feed-forward(z). x_m, z_n->m: [B T_m D]; p_m, fused: [B D]. Tsai et al. 2019, "Multimodal Transformer
    for Unaligned Multimodal Language Sequences". Two things differ: where both sides have times, near frames
    are read first; W_m brings what was read back to width D, where the paper goes on M - 1 times as wide.
    The gates begin shut, and an absent modality is passed by. A learned vector stands in for p_m of an absent
    m. Without the encoders, a step costs 13 times what concat's does: M (M - 1) Transformers run over all steps.
    """

    vote = FUSED

    def __init__(
        self, modalities: tuple[str, ...], dim: int, *, layers: int = 2, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.timed = modalities if len(modalities) > 1 else ()
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.absent = AbsentVectors(modalities, dim)
        self.readers = nn.ModuleDict(
            {
                m: nn.ModuleDict({n: _Reader(dim, layers, heads, dropout) for n in modalities if n != m})
                for m in modalities
            }
        )
        width = dim * max(len(modalities) - 1, 1)
        self.joins = nn.ModuleDict({name: nn.Linear(width, dim) for name in modalities})
        self.blocks = nn.ModuleDict({name: SelfBlock(dim, heads, dropout=dropout) for name in modalities})
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim * len(modalities), dim)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality, with or without times; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        steps = {name: self._reinforced(name, heard.tracks) for name in self.readers}
        pooled = [masked_mean(x, heard.tracks[name].mask) for name, x in steps.items()]
        p = self.absent(torch.stack(pooled, dim=1), heard.there)
        masks = [track.mask for track in heard.tracks.values()]
        track = Track(torch.cat(list(steps.values()), dim=1), torch.cat(masks, dim=1))
        return heard.with_fused(self.out(p.flatten(1)), track)

    def _reinforced(self, name: str, tracks: Mapping[str, Track]) -> Tensor:
        """The steps of a modality [B T D] after they have read all others."""
        own = tracks[name]
        readers = self.readers[name].items()  # type: ignore[operator]
        z = [reader(own, tracks[other]) for other, reader in readers] or [own.values]
        return self.norm(self.blocks[name](self.joins[name](torch.cat(z, dim=-1)), own.mask))


class _Reader(nn.Module):
    """A crossmodal Transformer: one Track reads another's steps, always those that the encoder gave."""

    def __init__(self, dim: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.reads = nn.ModuleList(AlignedAttention(dim, heads, dropout=dropout) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers))
        self.feeds = nn.ModuleList(FeedForward(dim, dropout=dropout) for _ in range(layers))

    def forward(self, own: Track, other: Track) -> Tensor:
        """own: [B T D]; other: [B S D]. Returns [B T D]."""
        z, gaps = own.values, time_gaps(own.times, other.times)
        for read, norm, feed in zip(self.reads, self.norms, self.feeds, strict=True):
            z = read(z, other.values, other.mask, gaps)
            z = z + feed(norm(z))
        return z
