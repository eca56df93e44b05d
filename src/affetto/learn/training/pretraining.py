"""Learning without labels: fill in what was blanked, words of a text or stretches of speech.

What fills in is a small head that belongs to the stage; the encoder below it is what the next stage goes on with.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from affetto.errors import ConfigError
from affetto.learn import ranks
from affetto.learn.config import StageConfig
from affetto.learn.models.recogniser import Recogniser
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.vocabulary import mask_id, special_ids
from affetto.records import Batch, Track

_WORDS = 0.15  # share of the tokens that are to be filled in
_BLANKED, _REPLACED = 0.8, 0.1  # of these; the rest is left as it is
_SPEECH = 0.3  # share of the seconds that are silenced
_SPAN = 0.3  # seconds of one stretch
_RATE = 16000


def masked_objective(recogniser: Recogniser, stage: StageConfig, cache: MediaCache) -> nn.Module:
    """The objective of a stage that learns without labels, for its one modality, text or speech.

    Raises ConfigError `config_invalid` for other modalities, an encoder with one step for a whole text, and a
    tokenizer without a token that stands for a blank.
    """
    modality, *others = stage.modalities
    if others or modality == "vision":
        raise ConfigError(
            "config_invalid", f"stage {stage.name}: a masked objective is for text or for speech alone"
        )
    encoder: Any = recogniser.encoders[modality]
    if modality == "speech":
        return MaskedSpeech(int(encoder.out_dim))
    blank = mask_id(cache.tokenizer)
    if blank is None or getattr(encoder, "pooling", "steps") != "steps":
        raise ConfigError(
            "config_invalid",
            f"stage {stage.name}: masked words need a tokenizer with a mask token, and backbone.pooling steps",
        )
    return MaskedWords(encoder, blank, special_ids(cache.tokenizer))


class MaskedWords(nn.Module):
    """Masked language modelling (Devlin et al. 2019, "BERT"): of 15 % of the tokens, 80 % are blanked, 10 %
    become any other, 10 % stay. What stood there is named by the encoder's own table of embeddings."""

    def __init__(self, encoder: Any, blank: int, special: tuple[int, ...]) -> None:
        super().__init__()
        table = encoder.embedding.weight
        self.blank, self.special, self.vocabulary = blank, special, int(table.shape[0])
        self.out = nn.Sequential(
            nn.Linear(int(encoder.out_dim), table.shape[1]), nn.LayerNorm(table.shape[1])
        )
        self.bias = nn.Parameter(torch.zeros(self.vocabulary))

    def forward(self, recogniser: Recogniser, batch: Batch) -> Tensor:
        """Cross-entropy of the tokens that were hidden; zero where none was."""
        track, encoder = batch.inputs["text"], cast(Any, recogniser.encoders["text"])
        ids, hidden = self.hide(track.values, track.mask)
        states = encoder(Track(ids, track.mask, track.times)).values[hidden]
        logits = functional.linear(self.out(states), encoder.embedding.weight, self.bias)
        total = functional.cross_entropy(logits, track.values[hidden], reduction="sum")
        return ranks.summed(total) / ranks.summed(hidden.sum()).clamp(min=1)

    def hide(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Ids [B T] as the model gets them, and which of them [B T] it is to name."""
        special = torch.tensor(self.special, device=ids.device, dtype=ids.dtype)
        words = mask & ~torch.isin(ids, special)
        hidden = words & (torch.rand(ids.shape, device=ids.device) < _WORDS)
        fate = torch.rand(ids.shape, device=ids.device)
        others = torch.randint(self.vocabulary, ids.shape, device=ids.device)
        shown = torch.where(
            fate < _BLANKED, self.blank, torch.where(fate < _BLANKED + _REPLACED, others, ids)
        )
        return torch.where(hidden, shown, ids), hidden


class MaskedSpeech(nn.Module):
    """Stretches of the waveform are silenced, and the encoder is to tell how they sounded: the log energy in
    16 bands around every step (after Liu et al. 2020, "Mockingjay", on coarser targets)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.bands = 16
        self.out = nn.Linear(dim, self.bands)

    def forward(self, recogniser: Recogniser, batch: Batch) -> Tensor:
        """Mean absolute error over the silenced steps; zero where there are none."""
        track = batch.inputs["speech"]
        silenced = self.hide(track.mask)
        heard = torch.where(silenced, 0.0, track.values)
        encoded = recogniser.encoders["speech"](Track(heard, track.mask))
        places = (encoded.times * _RATE).long().clamp(max=track.values.shape[1] - 1)
        asked = encoded.mask & silenced.gather(1, places)
        target = self.sound(torch.where(track.mask, track.values, 0.0), places)
        error = (self.out(encoded.values) - target).abs().mean(dim=-1)
        return ranks.summed((error * asked).sum()) / ranks.summed(asked.sum()).clamp(min=1)

    def hide(self, mask: Tensor) -> Tensor:
        """[B N] bool: stretches of `_SPAN` seconds, `_SPEECH` of all in expectation."""
        span = round(_SPAN * _RATE)
        pieces = -(-mask.shape[1] // span)
        chosen = torch.rand(mask.shape[0], pieces, device=mask.device) < _SPEECH
        return chosen.repeat_interleave(span, dim=1)[:, : mask.shape[1]] & mask

    def sound(self, waveform: Tensor, places: Tensor) -> Tensor:
        """Log energies [B T bands] of a window of 32 ms around each place [B T]."""
        half = 256
        padded = functional.pad(waveform, (half, half))
        windows = padded.unfold(1, 2 * half, 1)
        rows = torch.arange(len(places), device=places.device)[:, None]
        power = torch.fft.rfft(
            windows[rows, places] * torch.hann_window(2 * half, device=waveform.device)
        ).abs()
        bands = power[..., 1:].square().unflatten(-1, (self.bands, -1)).mean(dim=-1)
        return torch.log(bands + 1e-4)
