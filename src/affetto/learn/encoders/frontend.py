"""Waveform to normalised log-mel inside the graph, so that training, export and serving share one front end.

The contract with `features.spectral`: 16 kHz, frames of 400 samples (25 ms, periodic Hann) every 160 (10 ms),
frame t covers samples [160 t, 160 t + 400), power spectrum, Slaney mel, log(x + 1e-6).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from affetto.features.spectral import FLOOR, HOP, RATE, WINDOW, mel_filterbank
from affetto.learn.layers.conv import every

FRAME_RATE = RATE / HOP


class MelPower(nn.Module):
    """Waveform [B N] to the power in the bands of `mel` [F size // 2 + 1], [B F T]; N is at least 400.

    `size`, a multiple of 4, are the points of the transform, of which a frame fills the first 400. The transforms
    of the even and of the odd samples, each a strided convolution, say all: their sum is the lower half of the
    spectrum, their difference the upper (Cooley & Tukey 1965). That takes half the products of a whole one.
    """

    def __init__(self, mel: NDArray[np.floating], size: int = WINDOW) -> None:
        super().__init__()
        middle = size // 4
        for name, first in (("even", 0), ("odd", 1)):
            self.register_buffer(name, _dft_basis(size, first), persistent=False)
        lower, upper = mel[:, : middle + 1], mel[:, : middle - 1 : -1].copy()
        upper[:, middle] = 0.0  # it is in the lower half
        for name, weights in (("lower", lower), ("upper", upper)):
            self.register_buffer(name, torch.from_numpy(weights).float()[:, :, None], persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform: [B N] float, nothing masked."""
        even = F.conv1d(waveform[:, None, :-1], self.get_buffer("even"), stride=HOP, dilation=2)
        odd = F.conv1d(waveform[:, None, 1:], self.get_buffer("odd"), stride=HOP, dilation=2)
        lower = F.conv1d(_power(even + odd), self.get_buffer("lower"))
        return lower + F.conv1d(_power(even - odd), self.get_buffer("upper"))


def _dft_basis(size: int, first: int) -> Tensor:
    """Windowed cosines, then sines, of every second sample, as kernels: [2 * (size // 4 + 1), 1, 200]."""
    n = torch.arange(first, WINDOW, 2, dtype=torch.int64)
    window = 0.5 - 0.5 * torch.cos(2 * torch.pi * n.double() / WINDOW)
    # k n modulo the period keeps the angles small, hence exact.
    turns = torch.arange(size // 4 + 1)[:, None] * n[None, :] % size
    angles = 2 * torch.pi * turns.double() / size
    basis = torch.cat([torch.cos(angles), -torch.sin(angles)]) * window
    return basis[:, None, :].float()


def _power(spectrum: Tensor) -> Tensor:
    real, imaginary = spectrum.chunk(2, dim=1)
    return real.square() + imaginary.square()


class LogMel(nn.Module):
    """Waveform [B N] to log-mel [B F T] and its mask [B T].

    A clip of n >= 400 samples has (n - 400) // 160 + 1 real frames; a shorter one has a single frame, padded
    with silence; a row without samples has none.
    """

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.power = MelPower(mel_filterbank(n_mels, n_fft=WINDOW, rate=RATE))

    def forward(self, waveform: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """waveform: [B N] float; mask: [B N] bool, True for the first samples of each row."""
        short = torch.sym_max(WINDOW - waveform.shape[1], 0)
        waveform = F.pad(torch.where(mask, waveform, 0.0), (0, short))
        mask = F.pad(mask, (0, short))
        log_mel = torch.log(self.power(waveform) + FLOOR)
        # A frame is real when its last sample is; the first frame also when the clip is shorter than it.
        complete = every(mask[:, WINDOW - 1 :], HOP)
        frames = torch.cat([mask.any(dim=1, keepdim=True), complete[:, 1:]], dim=1)
        return log_mel, frames


class SlidingMean(nn.Module):
    """Each frame minus the mean of the real frames within `seconds` to either side, band by band.

    It removes the loudness and the colour of the channel, and being local it leaves what lies further away
    without influence: a long recording can be encoded in pieces. [B F T] -> [B F T], padding zero.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.reach = round(seconds * FRAME_RATE)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [B F T]; mask: [B T] bool."""
        keep = mask[:, None].to(x.dtype)
        mean = self._window_sum(x * keep) / self._window_sum(keep).clamp(min=1.0)
        return (x - mean) * keep

    def _window_sum(self, x: Tensor) -> Tensor:
        # The window is put together from sums of 1, 2, 4, ... frames: a dozen additions whatever its length,
        # in the same order at every frame, so that a frame's sum does not depend on where a recording begins.
        frames, size = x.shape[-1], 2 * self.reach + 1
        doubled = F.pad(x, (self.reach, self.reach))
        total, covered = torch.zeros_like(x), 0
        for bit in range(size.bit_length()):
            width = 1 << bit
            if size & width:
                total = total + doubled[..., covered : covered + frames]
                covered += width
            if covered < size:
                doubled = doubled[..., :-width] + doubled[..., width:]
        return total


class SpecAugment(nn.Module):
    """Blanks random bands and stretches in training (Park et al. 2019); nothing in evaluation.

    A stretch is at most `time_seconds` and at most a fifth of the clip. Before that every clip's mel axis is
    stretched by a random factor in 1 +- `warp`, as if the speaker's vocal tract were shorter or longer
    (Jaitly & Hinton 2013, "Vocal Tract Length Perturbation").
    """

    def __init__(
        self,
        *,
        frequency_masks: int,
        frequency_width: int,
        time_masks: int,
        time_seconds: float,
        warp: float = 0.0,
    ) -> None:
        super().__init__()
        self.frequency_masks = frequency_masks
        self.frequency_width = frequency_width
        self.time_masks = time_masks
        self.time_frames = time_seconds * FRAME_RATE
        self.warp = warp

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [B F T], its mean near zero; mask: [B T] bool."""
        if not self.training:
            return x
        bands, frames = x.shape[1:]
        x = _warp_bands(x, self.warp)
        lengths = mask.sum(dim=1).to(x.dtype)
        widths = torch.full_like(lengths, min(self.frequency_width, bands))
        stretches = (lengths / 5).clamp(max=self.time_frames)
        for _ in range(self.frequency_masks):
            x = x * _random_gap(torch.full_like(lengths, bands), widths, bands)[:, :, None]
        for _ in range(self.time_masks):
            x = x * _random_gap(lengths, stretches, frames)[:, None, :]
        return x


def _warp_bands(x: Tensor, most: float) -> Tensor:
    """[B F T] with each row's bands taken, interpolated, from places stretched by a factor in 1 +- `most`."""
    rows, bands = x.shape[:2]
    factor = 1 + (2 * torch.rand(rows, 1, device=x.device) - 1) * most
    place = (torch.arange(bands, device=x.device) * factor).clamp(max=bands - 1)
    low = place.long()
    share = (place - low)[..., None].to(x.dtype)
    row = torch.arange(rows, device=x.device)[:, None]
    return x[row, low] * (1 - share) + x[row, (low + 1).clamp(max=bands - 1)] * share


def _random_gap(lengths: Tensor, widest: Tensor, size: int) -> Tensor:
    """[B size] ones with, in each row, one gap of random width <= widest [B] within [0, lengths) [B]."""
    width = (torch.rand_like(lengths) * (widest.floor() + 1)).floor()
    start = (torch.rand_like(lengths) * (lengths - width + 1)).floor()
    index = torch.arange(size, device=lengths.device)
    return ((index < start[:, None]) | (index >= (start + width)[:, None])).to(lengths.dtype)


class SpeechFrontEnd(nn.Module):
    """Log-mel, sliding mean normalisation and SpecAugment: waveform [B N] -> [B F T], padding zero."""

    def __init__(self, n_mels: int, normalise_seconds: float, augment: SpecAugment) -> None:
        super().__init__()
        self.n_mels = n_mels
        self.log_mel = LogMel(n_mels)
        self.normalise = SlidingMean(normalise_seconds)
        self.augment = augment
        #: Seconds that one output frame sees.
        self.receptive_field = WINDOW / RATE + 2 * self.normalise.reach / FRAME_RATE

    def forward(self, waveform: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """waveform: [B N]; mask: [B N] bool. Returns values [B F T] and mask [B T]."""
        x, frames = self.log_mel(waveform, mask)
        return self.augment(self.normalise(x, frames), frames), frames


def frame_times(frames: Tensor, step: int) -> Tensor:
    """Centres in seconds, [B T], of every `step`-th log-mel frame, for a mask `frames` [B T]."""
    index = torch.arange(frames.shape[1], device=frames.device, dtype=torch.float32)
    return ((index * (step * HOP) + WINDOW / 2) / RATE).expand(frames.shape[0], -1)
