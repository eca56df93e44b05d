"""Convolutions that cannot see padding: whatever has a bias or a normalisation is masked again after it.

`keep` is a float mask that broadcasts against the values, 1 = real: [B 1 T] for sequences [B C T],
[B 1 1 T] for pictures over time [B C F T], [N 1 1 1] for a pile of pictures [N C H W].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affetto.learn import ranks


class MaskedBatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) whose statistics count real positions only, those of all ranks.

    In evaluation it is the usual affine map by running statistics, which folds into the convolution before.
    Equal to `nn.BatchNorm1d/2d` when everything is real. Padded positions are not zeroed: mask afterwards.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """x: [B C ...]; keep: broadcastable float mask with one channel. Returns x's shape."""
        # The common case of training, all clips of one length, has a fused kernel of its own.
        if not self.training or (ranks.count() == 1 and bool(keep.all()) and x[:, 0].numel() > 1):
            return F.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                self.training,
                self.momentum,
                self.epsilon,
            )
        return self._masked(x, keep)

    def _masked(self, x: Tensor, keep: Tensor) -> Tensor:
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        count = keep.sum() * (x[:, 0].numel() / keep.numel())
        sums = ranks.summed(torch.cat([(x * keep).sum(axes), count[None]]))
        total, count = sums[:-1], sums[-1]
        mean = total / count.clamp(min=1.0)
        centred = x - mean.view(shape)
        variance = ranks.summed((centred * keep).square().sum(axes)) / count.clamp(min=1.0)
        self._update(mean.detach(), variance.detach(), count)
        scale = self.weight * torch.rsqrt(variance + self.epsilon)
        return centred * scale.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        # A batch in which the modality is absent altogether says nothing about its statistics.
        rate = self.momentum * (count > 1).to(mean.dtype)
        unbiased = variance * count / (count - 1).clamp(min=1.0)
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(unbiased, rate)


class ConvBlock1d(nn.Module):
    """Convolution of odd `kernel`, normalisation, ReLU: [B C T] -> [B C' T], padding zero."""

    def __init__(self, channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.norm = MaskedBatchNorm(out_channels)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """x: [B C T], zero where padded; keep: [B 1 T]."""
        return F.relu(self.norm(self.conv(x), keep)) * keep


class DepthwiseSeparable1d(nn.Module):
    """Context along time at little cost: a convolution per channel, then one across channels, added back.

    (Howard et al. 2017, "MobileNets".) [B C T] -> [B C T]; `kernel` is odd.
    """

    def __init__(self, channels: int, kernel: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(
            channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False
        )
        self.depthwise_norm = MaskedBatchNorm(channels)
        self.pointwise = nn.Conv1d(channels, channels, 1, bias=False)
        self.pointwise_norm = MaskedBatchNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """x: [B C T], zero where padded; keep: [B 1 T]."""
        h = F.relu(self.depthwise_norm(self.depthwise(x), keep))
        h = F.relu(self.pointwise_norm(self.pointwise(h), keep))
        return x + self.dropout(h) * keep


class ConvBlock2d(nn.Module):
    """Convolution, normalisation, ReLU: [B C H W] -> [B C' H/stride W/stride], padding zero."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int, *, stride: int | tuple[int, int] = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm = MaskedBatchNorm(out_channels)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """x: [B C H W], zero where padded; keep: the mask of what comes out."""
        return F.relu(self.norm(self.conv(x), keep)) * keep


class ResidualBlock2d(nn.Module):
    """Two 3x3 convolutions added to a short cut (He et al. 2016): [B C H W] -> [B C' H/stride W/stride]."""

    def __init__(self, channels: int, out_channels: int, *, stride: int | tuple[int, int] = 1) -> None:
        super().__init__()
        self.stride = stride
        self.first = ConvBlock2d(channels, out_channels, 3, stride=stride)
        self.conv = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm = MaskedBatchNorm(out_channels)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or channels != out_channels:
            self.shortcut = nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """x: [B C H W], zero where padded; keep: the mask of what comes out."""
        h = self.norm(self.conv(self.first(x, keep)), keep)
        short = x if self.shortcut is None else self.shortcut(x)
        return F.relu(h + short) * keep


def every(mask: Tensor, step: int) -> Tensor:
    """Every `step`-th of [B T] bool: what a convolution of odd kernel and that stride leaves real.

    A pooling says it in the same arithmetic as the convolution, so that the exporter, which compares lengths
    as formulas, sees at once that both are equal (`mask[:, ::step]` takes it ten times as long).
    """
    return mask if step == 1 else F.max_pool1d(mask.float()[:, None], 1, step)[:, 0] > 0


def residual_stages(channels: tuple[int, ...], blocks: int) -> list[ResidualBlock2d]:
    """`blocks` residual blocks for each of `channels`; each stage after the first halves H and W."""
    made, before = [], channels[0]
    for stage, after in enumerate(channels):
        for block in range(blocks):
            made.append(ResidualBlock2d(before, after, stride=2 if stage and not block else 1))
            before = after
    return made


def receptive_frames(layers: list[tuple[int, int]]) -> int:
    """How many input frames one output frame sees, through convolutions given as (kernel, stride)."""
    frames, step = 1, 1
    for kernel, stride in layers:
        frames += (kernel - 1) * step
        step *= stride
    return frames
