"""Speech encoders: waveform [B N] with its mask in, a Track [B T D] out, the front end inside the graph.

Each states `out_dim` (D), `rate` (frames per second) and `receptive_field` (seconds that one frame sees;
infinite where every frame sees all), and puts frame centres into `Track.times`.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from affetto.learn.encoders.frontend import FRAME_RATE, SpeechFrontEnd, frame_times
from affetto.learn.layers.conv import (
    ConvBlock1d,
    ConvBlock2d,
    DepthwiseSeparable1d,
    ResidualBlock2d,
    every,
    receptive_frames,
)
from affetto.learn.layers.recurrent import MaskedBiGru
from affetto.learn.layers.transformer import Transformer
from affetto.records import Track

_STEM_KERNEL = 7
_STEM_STEP = 4
_CONTEXT_KERNEL = 5


class SpeechCnn(nn.Module):
    """Residual 2-D convolutions over mel and time, then depthwise-separable context along time.

    The stem halves mel and quarters time, one residual block for each further entry of `channels` halves mel
    again, and the second of them halves time: 12.5 frames per second. Frames come out of a ReLU, undisturbed
    by dropout: statistics over them are then the same in training and in use. Without recurrence or
    attention: a frame depends on a finite stretch of sound and quantises well.
    """

    def __init__(
        self,
        dim: int,
        front_end: SpeechFrontEnd,
        *,
        channels: tuple[int, ...] = (24, 32, 64, 96),
        layers: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.out_dim = dim
        self.front_end = front_end
        self.stem = ConvBlock2d(1, channels[0], _STEM_KERNEL, stride=(2, _STEM_STEP))
        self.strides = [2 if stage == 1 else 1 for stage in range(len(channels) - 1)]
        self.blocks = nn.ModuleList(
            ResidualBlock2d(before, after, stride=(2, stride))
            for before, after, stride in zip(channels, channels[1:], self.strides, strict=False)
        )
        self.step = _STEM_STEP * math.prod(self.strides)
        bands = math.ceil(front_end.n_mels / 2 ** len(channels))
        self.dropout = nn.Dropout(dropout)
        self.gather = ConvBlock1d(channels[-1] * bands, dim, 1)
        self.context = nn.ModuleList(DepthwiseSeparable1d(dim, _CONTEXT_KERNEL) for _ in range(layers))
        self.rate = FRAME_RATE / self.step
        seen = [(_STEM_KERNEL, _STEM_STEP)]
        for stride in self.strides:
            seen += [(3, stride), (3, 1)]
        seen += [(_CONTEXT_KERNEL, 1)] * layers
        self.receptive_field = front_end.receptive_field + (receptive_frames(seen) - 1) / FRAME_RATE

    def forward(self, track: Track) -> Track:
        """Waveform [B N] and mask [B N] bool -> Track [B T D] at `rate`."""
        x, mask = self.front_end(track.values, track.mask)
        mask = every(mask, _STEM_STEP)
        x = self.stem(x[:, None], _keep(mask))
        for block, stride in zip(self.blocks, self.strides, strict=True):
            mask = every(mask, stride)
            x = block(x, _keep(mask))
        keep = mask[:, None].to(x.dtype)
        x = self.gather(self.dropout(x.flatten(1, 2)), keep)
        for layer in self.context:
            x = layer(x, keep)
        return Track(x.transpose(1, 2), mask, frame_times(mask, self.step))


class ConvSubsampling(nn.Module):
    """Plain convolutions, log-mel [B F T] to [B T/4 width]: each halves mel, the first two halve time."""

    step = 4

    def __init__(self, n_mels: int, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ValueError(f"channels {channels}: expected at least 2 stages, the first two halve time")
        self.strides = [2 if stage < 2 else 1 for stage in range(len(channels))]
        self.convs = nn.ModuleList(
            ConvBlock2d(before, after, 3, stride=(2, stride))
            for before, after, stride in zip((1, *channels), channels, self.strides, strict=False)
        )
        self.gather = nn.Linear(channels[-1] * math.ceil(n_mels / 2 ** len(channels)), width)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x: [B F T]; mask: [B T] bool. Returns values [B T' width] and mask [B T']."""
        x = x[:, None]
        for conv, stride in zip(self.convs, self.strides, strict=True):
            mask = every(mask, stride)
            x = conv(x, _keep(mask))
        x = self.gather(x.flatten(1, 2).transpose(1, 2))
        return x * mask[..., None].to(x.dtype), mask


class SpeechCrnn(nn.Module):
    """Convolutions over mel and time, then a bidirectional GRU of `layers`: 25 frames per second."""

    def __init__(
        self,
        dim: int,
        front_end: SpeechFrontEnd,
        *,
        channels: tuple[int, ...] = (32, 64, 128),
        width: int = 128,
        layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"width {width}: expected an even number, half for each direction")
        self.out_dim = dim
        self.rate = FRAME_RATE / ConvSubsampling.step
        self.receptive_field = math.inf
        self.front_end = front_end
        self.subsampling = ConvSubsampling(front_end.n_mels, channels, width)
        self.recurrent = MaskedBiGru(width, width // 2, layers, dropout=dropout)
        self.out = nn.Linear(width, dim)

    def forward(self, track: Track) -> Track:
        """Waveform [B N] and mask [B N] bool -> Track [B T D] at `rate`."""
        x, mask = self.subsampling(*self.front_end(track.values, track.mask))
        x = self.out(self.recurrent(x, mask)) * mask[..., None].to(x.dtype)
        return Track(x, mask, frame_times(mask, ConvSubsampling.step))


class SpeechTransformer(nn.Module):
    """Convolutional subsampling, then a pre-norm Transformer with rotary positions: 25 frames per second."""

    def __init__(
        self,
        dim: int,
        front_end: SpeechFrontEnd,
        *,
        channels: tuple[int, ...] = (32, 64, 128),
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.out_dim = dim
        self.rate = FRAME_RATE / ConvSubsampling.step
        self.receptive_field = math.inf
        self.front_end = front_end
        self.subsampling = ConvSubsampling(front_end.n_mels, channels, width)
        self.dropout = nn.Dropout(dropout)
        self.transformer = Transformer(
            width, heads, layers, dropout=dropout, stochastic_depth=dropout, rotary=True
        )
        self.out = nn.Linear(width, dim)

    def forward(self, track: Track) -> Track:
        """Waveform [B N] and mask [B N] bool -> Track [B T D] at `rate`."""
        x, mask = self.subsampling(*self.front_end(track.values, track.mask))
        x = self.out(self.transformer(self.dropout(x), mask)) * mask[..., None].to(x.dtype)
        return Track(x, mask, frame_times(mask, ConvSubsampling.step))


def _keep(mask: Tensor) -> Tensor:
    """[B T] bool as a float mask for [B C F T]."""
    return mask[:, None, None, :].float()
