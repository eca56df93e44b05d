"""Google's speech embedding: what was said in 0.8 s, learnt from some 200 million clips of keywords.

Lin et al. 2020, "Training Keyword Spotters with Limited and Synthesized Speech Data". 0.3 million weights, which
the package openwakeword 0.4.0 carries as an ONNX file (Apache-2.0, 1.3 MB).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affetto.errors import ConfigError
from affetto.features.spectral import HOP, RATE, WINDOW, mel_filterbank
from affetto.learn.encoders.frontend import FRAME_RATE, MelPower, SpecAugment, frame_times
from affetto.learn.layers.conv import every
from affetto.records import Track

_BANDS, _FFT = 32, 512
_F_MIN, _F_MAX = 60.0, 3800.0  # Hz
_SCALE = 32768.0  # it hears 16-bit samples
_POWER_FLOOR, _RANGE = 1e-10, 8.0  # of the power of a band; decades below the loudest that it hears
_WINDOW_FRAMES, _STEP = 76, 8  # log-mel frames that an embedding sees, and from one to the next
_WIDTH = 96
#: Channels of each pair of convolutions (along mel, then along time), and the pooling (time, mel) after it.
_PAIRS: tuple[tuple[int, tuple[int, int] | None], ...] = (
    (24, (2, 2)), (48, None), (48, (1, 2)), (72, None), (72, (2, 2)), (96, None), (96, (1, 2)), (96, None),
    (96, (2, 2)),
)  # fmt: skip
_SLOPE, _LEAST = 0.2, -0.4  # of its activation
#: Pairs that `inner` gives, with the first of their steps that lies within its own first step, and how many do.
_INNER = {2: (14, 4), 4: (6, 2), 6: (4, 2)}


class BoundedLogMel(nn.Module):
    """Waveform [B N] to log-mel [B F T], in decades and no more than eight below its loudest, and its mask [B T].

    `context` frames of silence stand on either side of it; what is silent is as far down as it goes.
    """

    def __init__(self, augment: SpecAugment) -> None:
        super().__init__()
        self.augment = augment
        self.context = _WINDOW_FRAMES // 2
        self.power = MelPower(mel_filterbank(_BANDS, _FFT, RATE, _F_MIN, _F_MAX), _FFT)

    def forward(self, waveform: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """waveform: [B N]; mask: [B N] bool. Returns [B F context + T + context + step] and the mask [B T]."""
        short = torch.sym_max(WINDOW - waveform.shape[1], 0)
        waveform, mask = F.pad(torch.where(mask, waveform, 0.0), (0, short)), F.pad(mask, (0, short))
        around = (self.context * HOP, (self.context + _STEP) * HOP)
        power = self.power(F.pad(_SCALE * waveform, around))
        decades = torch.log10(power.clamp(min=_POWER_FLOOR))
        loudest = decades.amax(dim=(1, 2), keepdim=True)
        # Augmentation blanks bands with zero, which has to mean silence.
        heard = (decades - loudest + _RANGE).clamp(min=0.0)
        complete = every(mask[:, WINDOW - 1 :], HOP)
        frames = torch.cat([mask.any(dim=1, keepdim=True), complete[:, 1:]], dim=1)
        return self.augment(heard, heard.new_ones(heard.shape[0], heard.shape[2])) + loudest - _RANGE, frames


class SpeechEmbedding(nn.Module):
    """Waveform [B N] at 16 kHz to a Track [B T D], 12.5 frames per second: each hears 0.4 s to either side of it.

    `weights` is the ONNX file of the published network, read by `load`; without it the network is drawn anew.
    Freeze `encoders.speech.network` to train only what stands on it.
    """

    def __init__(self, dim: int, front_end: BoundedLogMel, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.out_dim = dim
        self.rate = FRAME_RATE / _STEP
        self.receptive_field = math.inf  # the loudest moment bounds the softest
        self.front_end = front_end
        self.network = _Network()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Identity() if dim == _WIDTH else nn.Linear(_WIDTH, dim)

    def forward(self, track: Track) -> Track:
        """Waveform [B N] and mask [B N] bool -> Track [B T D] at `rate`."""
        x, frames = self.front_end(track.values, track.mask)
        mask = every(frames, _STEP)
        states = self.network(x.transpose(1, 2)[:, None])[:, : mask.shape[1]]
        values = self.out(self.dropout(states)) * mask[..., None].to(states.dtype)
        return Track(values, mask, frame_times(mask, _STEP))

    def inner(self, track: Track) -> Track:
        """What some of its layers find: waveform [B N] and mask [B N] bool -> Track [B T 312] at `rate`.

        Means over mel of the third, fifth and seventh pair of convolutions, and the embedding, side by side, all
        centred on the same moments. The last layers know what was said, those in the middle also how.
        """
        x, frames = self.front_end(track.values, track.mask)
        mask = every(frames, _STEP)
        states = self.network.inner(x.transpose(1, 2)[:, None])[:, : mask.shape[1]]
        return Track(states * mask[..., None].to(states.dtype), mask, frame_times(mask, _STEP))

    def load(self, path: str | Path) -> None:
        """Take over the published weights.

        Raises ConfigError `config_invalid` when the file is not there or is another network.
        """
        self.network.load(Path(path))


class _Network(nn.Module):
    """Log-mel [B 1 T 32] to embeddings [B (T - 76) // 8 + 1, 96], by convolutions that pad mel and never time."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, _PAIRS[0][0], 3, padding=(0, 1), bias=False)
        self.scale = nn.Parameter(torch.ones(_PAIRS[0][0], 1, 1))
        self.shift = nn.Parameter(torch.zeros(_PAIRS[0][0], 1, 1))
        before, convs = _PAIRS[0][0], []
        for width, _ in _PAIRS:
            convs += [nn.Conv2d(before, width, (1, 3), padding=(0, 1)), nn.Conv2d(width, width, (3, 1))]
            before = width
        self.convs = nn.ModuleList(convs)
        self.last = nn.Conv2d(before, _WIDTH, (3, 1), bias=False)

    def forward(self, decades: Tensor) -> Tensor:
        *_, x = self.layers(decades)
        return self.last(x)[..., 0].transpose(1, 2)

    def inner(self, decades: Tensor) -> Tensor:
        """[B 1 T 32] to what some layers find and the embedding [B (T - 76) // 8 + 1, 312]."""
        layers = list(self.layers(decades))
        last = self.last(layers[-1])[..., 0]
        found = [
            F.avg_pool1d(layers[pair].mean(dim=3)[..., first:], size)[..., : last.shape[2]]
            for pair, (first, size) in _INNER.items()
        ]
        return torch.cat([*found, last], dim=1).transpose(1, 2)

    def layers(self, decades: Tensor) -> Iterator[Tensor]:
        """[B 1 T 32] to what each pair of convolutions makes of it [B C T' F]."""
        # As it was trained: decibels over ten, and two.
        x = _activation(F.relu(self.first(decades + 2.0)) * self.scale + self.shift)
        for i, (_, pool) in enumerate(_PAIRS):
            x = _activation(self.convs[2 * i](x))
            x = _activation(self.convs[2 * i + 1](x))
            x = x if pool is None else F.max_pool2d(x, pool)
            yield x

    @torch.no_grad()
    def load(self, path: Path) -> None:
        import onnx
        from onnx.numpy_helper import to_array

        try:
            graph = onnx.load(path).graph
            given = {tensor.name: torch.from_numpy(to_array(tensor).copy()) for tensor in graph.initializer}
            convs = [node for node in graph.node if node.op_type == "Conv"]
            norm = next(node for node in graph.node if node.op_type == "BatchNormalization")
            weight, bias, mean, variance = (given[name] for name in norm.input[1:5])
            epsilon = next(a.f for a in norm.attribute if a.name == "epsilon")
            scale = weight / (variance + epsilon).sqrt()
            self.scale.copy_(scale[:, None, None])
            self.shift.copy_((bias - mean * scale)[:, None, None])
            for own, node in zip((self.first, *self.convs, self.last), convs, strict=True):
                own.weight.copy_(given[node.input[1]])
                if own.bias is not None:
                    own.bias.copy_(given[node.input[2]])
        except OSError as error:
            raise ConfigError(
                "config_invalid", f"model.speech.weights: cannot read {path}: {error}"
            ) from error
        except Exception as error:  # onnx has no error of its own for what is no model
            raise ConfigError(
                "config_invalid",
                f"model.speech.weights: {path} is not the published speech embedding ({error}): expected "
                "embedding_model.onnx of openwakeword 0.4.0",
            ) from error


def _activation(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE).clamp(min=_LEAST)
