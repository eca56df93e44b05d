"""Speech through a pretrained model: raw waveforms (wav2vec2, HuBERT, WavLM) or log-mel (the Whisper encoder).

What the model's feature extractor does to a recording is done here, inside the graph, and only over its real
samples: a clip alone and the same clip in a batch are one and the same.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affetto.features.spectral import HOP, RATE, WINDOW, mel_filterbank
from affetto.learn.encoders.frontend import MelPower
from affetto.learn.encoders.pretrained.backbone import Backbone
from affetto.learn.layers.conv import every
from affetto.records import Track

_QUIET = 1e-7  # what the extractors add to a variance
_FLOOR = 1e-10  # of Whisper's power, before its logarithm
_RANGE = 8.0  # decades below the loudest that Whisper hears
_UNSEEN = -1e4  # added to what attention would give a frame that is not there


class PretrainedSpeech(nn.Module):
    """Waveform [B N] at 16 kHz to a Track [B T D]: 50 frames per second, with their centres in seconds.

    padded: see `WhisperStates`. standardised: each state to mean 0 and deviation 1 over its features; those of
        layers within a model are of very unlike sizes.

    Raises ValueError when the backbone was trained at another rate.
    """

    def __init__(
        self,
        dim: int,
        backbone: Backbone,
        *,
        padded: bool = True,
        standardised: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        rate = backbone.form["processor"].get("sampling_rate", RATE)
        if rate != RATE:
            raise ValueError(f"the backbone hears {rate} Hz: expected {RATE}")
        self.out_dim = dim
        self.backbone = backbone
        self.standardised = standardised
        whisper = backbone.family == "whisper"
        self.hear = WhisperStates(backbone, padded) if whisper else WaveStates(backbone)
        self.rate = RATE / int(self.hear.step)
        self.stretch = self.hear.stretch
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Identity() if backbone.width == dim else nn.Linear(backbone.width, dim)

    def forward(self, track: Track) -> Track:
        """Waveform [B N] and mask [B N] bool -> Track [B T D] at `rate`."""
        states, mask = self.hear(track.values, track.mask)
        if self.standardised:
            states = F.layer_norm(states, states.shape[-1:])
        values = self.out(self.dropout(states)) * mask[..., None].to(states.dtype)
        index = torch.arange(mask.shape[1], device=mask.device, dtype=torch.float32)
        times = (index * self.hear.step + self.hear.sees / 2) / RATE
        return Track(values, mask, times.expand(mask.shape[0], -1))


class WaveStates(nn.Module):
    """wav2vec2 and its kin: convolutions over samples, then a Transformer over frames.

    `step` and `sees`: the samples from one frame to the next, and those that a frame's convolutions see.
    `stretch`: the seconds of a clip that are heard.
    """

    stretch = math.inf

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        # In a list, so that the backbone is a part of the encoder alone.
        self._backbone = [backbone]
        config: Any = backbone.config
        self.kernels = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.normalise = bool(backbone.form["processor"].get("do_normalize", True))
        self.step, self.sees = 1, 1
        for kernel, stride in self.kernels:
            self.sees += (kernel - 1) * self.step
            self.step *= stride

    def forward(self, waveform: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """waveform: [B N]; mask: [B N] bool. Returns states [B T W] and mask [B T]."""
        backbone = self._backbone[0]
        model: Any = backbone.model
        short = torch.sym_max(self.sees - waveform.shape[1], 0)
        waveform, mask = F.pad(torch.where(mask, waveform, 0.0), (0, short)), F.pad(mask, (0, short))
        if self.normalise:
            waveform = _standardised(waveform, mask)
        x, frames = waveform[:, None], mask
        for layer, (kernel, stride) in zip(model.feature_extractor.conv_layers, self.kernels, strict=True):
            x = layer.conv(x)
            # A frame is real when its last sample is; a clip shorter than one frame has that one.
            complete = every(frames[:, kernel - 1 :], stride)
            frames = torch.cat([frames.any(dim=1, keepdim=True), complete[:, 1:]], dim=1)
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                x = _normed(x, frames, norm)
            elif norm is not None:
                x = norm(x.transpose(1, 2)).transpose(1, 2)
            x = layer.activation(x)
        states = model.feature_projection(x.transpose(1, 2))
        # Some of the family return what they projected as well.
        states = states[0] if isinstance(states, tuple) else states
        states = states * frames[..., None].to(states.dtype)
        # A row of padding alone would attend to nothing: it attends to everything, and is masked afterwards.
        seen = frames | ~frames.any(dim=1, keepdim=True)
        return backbone.through(model.encoder, states, attention_mask=seen), frames


class WhisperStates(nn.Module):
    """The Whisper encoder over the log-mel of a clip, up to the layer that is read.

    It was trained on a fixed stretch, mostly 30 s: the clip, then silence. `padded` hears all of that; without, the
    clip alone, for as much time as it lasts. What lies beyond the stretch is not heard.
    """

    def __init__(self, backbone: Backbone, padded: bool) -> None:
        super().__init__()
        backbone.drop_unread()
        self._backbone = [backbone]
        self.padded = padded
        config: Any = backbone.config
        self.frames = 2 * int(config.max_source_positions)
        self.stretch = self.frames * HOP / RATE
        self.normalise = bool(backbone.form["processor"].get("do_normalize", False))
        self.step, self.sees = 2 * HOP, WINDOW - 2 * (WINDOW // 2)  # frames are centred on their first sample
        self.power = MelPower(mel_filterbank(config.num_mel_bins, n_fft=WINDOW, rate=RATE))

    def forward(self, waveform: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """waveform: [B N]; mask: [B N] bool. Returns states [B T W] and mask [B T]."""
        # A window at least, of which half is mirrored.
        least = self.frames * HOP if self.padded else WINDOW
        most = torch.sym_max(torch.sym_min(waveform.shape[1], self.frames * HOP), least)
        heard, waveform = F.pad(mask, (0, least))[:, :most], F.pad(waveform, (0, least))[:, :most]
        waveform = torch.where(heard, waveform, 0.0)
        if self.normalise:
            waveform = _standardised(waveform, heard)
        x = self._log_mel(waveform)
        # Silence is heard, what only fills up a batch is not.
        frames = torch.ones_like(x[:, 0], dtype=torch.bool) if self.padded else every(heard, HOP)
        return self._states(x, frames), every(heard, self.step)

    def _log_mel(self, waveform: Tensor) -> Tensor:
        """[B N] -> [B F T], as Whisper was trained: decades, clipped below the loudest, about -1 to 1."""
        mirrored = F.pad(waveform[:, None], (WINDOW // 2, 0), mode="reflect")
        ended = F.pad(mirrored, (0, WINDOW // 2), mode="reflect" if self.padded else "constant")
        power = self.power(ended[:, 0])[..., : (waveform.shape[1] + HOP - 1) // HOP]
        decades = torch.log10(power.clamp(min=_FLOOR))
        decades = torch.maximum(decades, decades.amax(dim=(1, 2), keepdim=True) - _RANGE)
        return (decades + 4.0) / 4.0

    def _states(self, x: Tensor, frames: Tensor) -> Tensor:
        """Log-mel [B F T] and its mask [B T] to the states that are read, [B T/2 W]."""
        backbone = self._backbone[0]
        model: Any = backbone.model
        keep = frames[..., None].to(x.dtype)
        x = F.gelu(_convolved(x.transpose(1, 2) * keep, model.conv1)) * keep
        x = F.gelu(_convolved(x, model.conv2))
        x = x + model.embed_positions(torch.arange(x.shape[1], device=x.device))
        away = (~every(frames, 2)).to(x.dtype)[:, None, None] * _UNSEEN
        states = [x]
        for layer in backbone.layers:
            states.append(layer(states[-1], away))
        return backbone.read([*states[:-1], model.layer_norm(states[-1])])


def _convolved(x: Tensor, layer: nn.Conv1d) -> Tensor:
    """A convolution over three steps of [B T C] as the matrix product that it is, which eight bits serve."""
    stride = layer.stride[0]
    padded = F.pad(x, (0, 0, 1, 1))
    last = x.shape[1] + 1
    seen = torch.stack([padded[:, i : last - 1 + i : stride] for i in range(3)], dim=3)
    return F.linear(seen.flatten(2), layer.weight.flatten(1), layer.bias)


def _standardised(x: Tensor, mask: Tensor) -> Tensor:
    """[B N] with mean 0 and deviation 1 over the real samples, 0 elsewhere."""
    keep = mask.to(x.dtype)
    count = keep.sum(dim=1, keepdim=True).clamp(min=1.0)
    centred = (x - (x * keep).sum(dim=1, keepdim=True) / count) * keep
    return centred / (centred.square().sum(dim=1, keepdim=True) / count + _QUIET).sqrt()


def _normed(x: Tensor, mask: Tensor, norm: nn.GroupNorm) -> Tensor:
    """A normalisation of every channel of [B C T] over time, over the real frames alone."""
    keep = mask[:, None].to(x.dtype)
    count = keep.sum(dim=2, keepdim=True).clamp(min=1.0)
    centred = x - (x * keep).sum(dim=2, keepdim=True) / count
    variance = (centred * keep).square().sum(dim=2, keepdim=True) / count
    scaled = centred * torch.rsqrt(variance + norm.eps)
    return scaled * norm.weight[:, None] + norm.bias[:, None]
