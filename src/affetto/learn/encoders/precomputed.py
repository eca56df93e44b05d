"""Encoders of precomputed features, of any modality: [B T F] with their mask in, a Track [B T D] out.

An utterance vector is a sequence of one step. `in_dim` is F, what a step brings; `rate` is None: nobody
says how long a step of somebody else's features lasts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from affetto.learn import ranks
from affetto.learn.layers.transformer import Transformer
from affetto.records import Track


class FeatureMlp(nn.Module):
    """Each step alone: `layers` hidden layers of `width`, then D; with 0 layers one linear map."""

    rate = None

    def __init__(
        self,
        dim: int,
        *,
        size: int,
        width: int = 64,
        layers: int = 1,
        dropout: float = 0.3,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.out_dim, self.in_dim = dim, size
        self.standard = Standardise(size, noise)
        self.dropout = nn.Dropout(dropout)
        hidden = [_hidden(size if i == 0 else width, width, dropout) for i in range(layers)]
        self.hidden = nn.Sequential(*hidden)
        self.out = nn.Linear(width if layers else size, dim)

    def forward(self, track: Track) -> Track:
        """Features [B T F] and mask [B T] bool -> Track [B T D]."""
        x = self.dropout(self.standard(track.values, track.mask))
        return _track(self.out(self.hidden(x)), track)


class FeatureTransformer(nn.Module):
    """A projection to `width` and a pre-norm Transformer over the steps, with rotary positions."""

    rate = None

    def __init__(
        self,
        dim: int,
        *,
        size: int,
        width: int = 64,
        layers: int = 1,
        heads: int = 4,
        dropout: float = 0.3,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.out_dim, self.in_dim = dim, size
        self.standard = Standardise(size, noise)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(size, width)
        self.transformer = Transformer(width, heads, layers, dropout=dropout, rotary=True)
        self.out = nn.Linear(width, dim)

    def forward(self, track: Track) -> Track:
        """Features [B T F] and mask [B T] bool -> Track [B T D]."""
        x = self.project(self.dropout(self.standard(track.values, track.mask)))
        return _track(self.out(self.transformer(x, track.mask)), track)


class Standardise(nn.Module):
    """Each feature less its mean, over its deviation, of all real steps met in training, cut off at +-5.

    In training normal noise of deviation `noise` is added (Bishop 1995: a penalty on the slope of what reads).
    Published sets mix hertz with ratios. The statistics are summed up over training (Chan et al. 1983), so
    that they are those of the training clips, not of a batch: training and answering see the same numbers.
    """

    def __init__(self, size: int, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise
        self.count: Tensor
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [B T F]; mask: [B T] bool. Returns [B T F]."""
        if self.training:
            self._take_in(x[mask])
        deviation = self.variance.clamp(min=1e-6).sqrt()
        x = ((x - self.mean) / deviation).clamp(-5.0, 5.0)
        return x + self.noise * torch.randn_like(x) if self.training and self.noise else x

    @torch.no_grad()
    def _take_in(self, steps: Tensor) -> None:
        """Merge the mean and variance of some real steps [K F] into those of all before: of all ranks' steps."""
        found = ranks.summed(steps.new_tensor(len(steps)))
        if not found:
            return
        total = self.count + found
        share = found / total
        mean = ranks.summed(steps.sum(dim=0)) / found
        shift = mean - self.mean
        before = self.variance if self.count > 0 else torch.zeros_like(self.variance)
        within = (1 - share) * before + share * ranks.summed((steps - mean).square().sum(dim=0)) / found
        self.variance.copy_(within + share * (1 - share) * shift.square())
        self.mean.add_(share * shift)
        self.count.copy_(total)


def _hidden(size: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(nn.Linear(size, width), nn.GELU(), nn.Dropout(dropout))


def _track(x: Tensor, track: Track) -> Track:
    return Track(x * track.mask[..., None].to(x.dtype), track.mask, track.times)
