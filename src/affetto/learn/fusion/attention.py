"""Attention over modalities: additive and dot-product of pooled vectors, self-attention of every step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affetto.learn.fusion.views import FUSED, PerModality, UnimodalViews, Views
from affetto.learn.layers.attention import masked_softmax
from affetto.learn.layers.transformer import Transformer
from affetto.records import Track


class AdditiveAttention(nn.Module):
    """fused = sum of a_m h_m,  a = softmax of v . tanh(W q + U h_m),  h_m = V_m x_m,  q = mean of the h_m.

    The sums are over the modalities present; x_m, h_m, q, fused: [B D]; a: [B M], the `weights`. Bahdanau et
    al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate", over modalities instead
    of words; what all say together asks.
    """

    vote = FUSED

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.features = PerModality(modalities, dim, dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.score = nn.Linear(dim, 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        h = self.features(heard.stacked)
        q = _mean(h, heard.there)
        shares = masked_softmax(self.score(torch.tanh(self.query(q) + self.key(h)))[..., 0], heard.there)
        said = shares[..., None] * h
        return heard.with_fused(self.dropout(said.sum(dim=1)), Track(said, heard.there), shares)


class DotProductAttention(nn.Module):
    """fused = sum of a_m h_m,  a = softmax of (W q) . (U h_m) / sqrt(D),  h_m = V_m x_m,  q = mean of the h_m.

    The sums are over the modalities present; x_m, h_m, q, fused: [B D]; a: [B M], the `weights`. Luong et al.
    2015, "Effective Approaches to Attention-based Neural Machine Translation", scaled as in Vaswani et al.
    2017; over modalities instead of words, and what all say together asks.
    """

    vote = FUSED

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.features = PerModality(modalities, dim, dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        h = self.features(heard.stacked)
        q = _mean(h, heard.there)
        scores = (self.query(q) * self.key(h)).sum(dim=-1) / h.shape[-1] ** 0.5
        shares = masked_softmax(scores, heard.there)
        said = shares[..., None] * h
        return heard.with_fused(self.dropout(said.sum(dim=1)), Track(said, heard.there), shares)


class SelfAttention(nn.Module):
    """fused = z_0,  z = Transformer([s; x_1 + e_1; ...; x_M + e_M]): all steps of all modalities in one sequence.

    x_m: [B T_m D], the Track itself; e_m: [D], which modality it is; s: [D], a learned summary; z: [B 1+T D]
    with T the sum of the T_m. Gabeur et al. 2020, "Multi-modal Transformer for Video Retrieval". Steps come
    as their encoder left them: it has told them where they stand. Without the encoders, a step costs 5 times
    what concat's does, and more the longer T is: every step attends to every other.
    """

    vote = FUSED

    def __init__(
        self, modalities: tuple[str, ...], dim: int, *, layers: int = 2, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.views = (FUSED, *modalities)
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)
        self.summary = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.kinds = nn.ParameterDict({name: nn.Parameter(torch.randn(dim) * 0.02) for name in modalities})
        self.transformer = Transformer(dim, heads, layers, dropout=dropout)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        steps = [heard.tracks[name].values + kind for name, kind in self.kinds.items()]
        masks = [track.mask for track in heard.tracks.values()]
        x = torch.cat([self.summary.expand(heard.there.shape[0], -1, -1), *steps], dim=1)
        mask = torch.cat([torch.ones_like(x[:, :1, 0], dtype=torch.bool), *masks], dim=1)
        z = self.transformer(x, mask)
        return heard.with_fused(z[:, 0], Track(z, mask))


def _mean(h: Tensor, there: Tensor) -> Tensor:
    """Mean of the modalities present: h [B M D], there [B M] bool -> [B 1 D]."""
    keep = there[..., None].to(h.dtype)
    return (h * keep).sum(dim=1, keepdim=True) / keep.sum(dim=1, keepdim=True).clamp(min=1.0)
