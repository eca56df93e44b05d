"""The spoken digits of FSDD, the pictures of MNIST and the ten words, decoded once, and batches drawn from them.

Speech comes in one of two kinds. `LogMels`: clips as log-mel, with tempo, vocal tract and noise varied there, for
a speech tower that learns from nothing. `Embedded`: clips as the published speech embedding hears them, each as it
is and as the experiment's augmentation makes it, some times over, for a tower that stands on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from parts.embedded import Embedded, padded
from torch import Tensor, nn
from torch.nn import functional

from affetto.data.corpora.digits import WORDS, read
from affetto.features.spectral import FLOOR, HOP, RATE
from affetto.features.text import encode, train_tokenizer
from affetto.learn.config import ModelConfig
from affetto.learn.encoders.frontend import LogMel
from affetto.learn.experiments.digits import TEMPLATES, digits
from affetto.learn.models.build import build_recogniser
from affetto.learn.models.recogniser import Recogniser
from affetto.media import decode_audio, decode_image
from affetto.records import Batch, Clip, Track

FRAMES, NOISY = (28, 68), 0.6  # of a clip in training; the share of clips in noise
LONGEST = round(0.9 * RATE / HOP)  # log-mel frames of a clip that are read


class Voices(Protocol):
    """Clips by number, as batches of Tracks, and the model that hears them."""

    def as_they_are(self, rows: Tensor) -> Track: ...

    def varied(self, rows: Tensor) -> Track: ...

    def build(self, config: ModelConfig) -> Recogniser: ...


@dataclass(frozen=True)
class Digits:
    """Everything decoded once: spoken digits, pictures [S S], words in templates as ids."""

    voices: Voices
    spoken: Tensor  # digit of each clip
    speakers: np.ndarray
    pictures: Tensor  # [N 1 S S] in [0, 1]
    drawn: Tensor
    test: Tensor  # which pictures training never sees
    words: Tensor  # [10 templates T] ids
    word_mask: Tensor


@dataclass(frozen=True)
class Pool:
    """What a training draws from: clips and pictures by number, apart for each digit."""

    clips: list[Tensor]
    pictures: list[Tensor]


def by_digit(labels: Tensor, there: Tensor) -> list[Tensor]:
    """The numbers of the items [N] that are there, of each digit."""
    return [torch.nonzero(there & (labels == digit)).flatten() for digit in range(len(WORDS))]


def load(data: Path, embedding: Path | None) -> Digits:
    """Read and decode the corpora; with the published `embedding`, hear each clip with it."""
    clips = read(data).clips
    spoken = [clip for clip in clips if clip.speech]
    drawn = [clip for clip in clips if clip.vision]
    waveforms = [decode_audio(clip.speech) for clip in spoken]
    voices = LogMels.of(waveforms) if embedding is None else Embedded.of(waveforms, embedding)
    return Digits(
        voices, _digits(spoken), np.array([clip.speaker for clip in spoken]), _pictures(drawn), _digits(drawn),
        torch.tensor([clip.split == "test" for clip in drawn]), *_words(),
    )  # fmt: skip


def _digits(clips: Sequence[Clip]) -> Tensor:
    return torch.tensor([WORDS.index(str(clip.labels["digit"])) for clip in clips])


def _pictures(clips: Sequence[Clip]) -> Tensor:
    size = digits().model.vision.size
    planes = [torch.from_numpy(decode_image(clip.vision)[:, :, 0].copy()) for clip in clips]
    return functional.interpolate(
        torch.stack(planes).float()[:, None] / 255, size=(size, size), mode="bilinear"
    )


def _words() -> tuple[Tensor, Tensor]:
    """The ten words in every template: ids and their mask, [10 templates T]."""
    config = digits().model.text
    tokenizer = train_tokenizer([t.format(word) for t in TEMPLATES for word in WORDS], config.vocab_size)
    ids = [[encode(tokenizer, t.format(word), config.max_tokens) for t in TEMPLATES] for word in WORDS]
    words = torch.zeros(
        len(WORDS), len(TEMPLATES), max(len(x) for row in ids for x in row), dtype=torch.int64
    )
    mask = torch.zeros_like(words, dtype=torch.bool)
    for i, row in enumerate(ids):
        for j, x in enumerate(row):
            words[i, j, : len(x)], mask[i, j, : len(x)] = torch.from_numpy(x), True
    return words, mask


@dataclass(frozen=True)
class LogMels:
    """Clips as log-mel [F T]."""

    mels: list[Tensor]

    @staticmethod
    def of(waveforms: Sequence[np.ndarray]) -> LogMels:
        log_mel = LogMel(digits().model.speech.n_mels)
        whole = [torch.from_numpy(waveform)[None] for waveform in waveforms]
        return LogMels([log_mel(x, torch.ones_like(x, dtype=torch.bool))[0][0] for x in whole])

    def as_they_are(self, rows: Tensor) -> Track:
        return padded([self.mels[i][:, :LONGEST].T for i in rows.tolist()])

    def varied(self, rows: Tensor) -> Track:
        """Most of them in noise, all stretched to one length, which is drawn anew for each batch: any digit
        comes at any speed, and no time is spent on padding."""
        size = int(torch.randint(*FRAMES, ()))
        mels = [self.mels[i][None, :, :LONGEST] for i in rows.tolist()]
        values = torch.cat([functional.interpolate(mel, size=size, mode="linear") for mel in mels])
        values = values.transpose(1, 2)
        noisy = torch.rand(len(rows), 1, 1) < NOISY
        return Track(
            torch.where(noisy, in_noise(values), values), torch.ones(values.shape[:2], dtype=torch.bool)
        )

    def build(self, config: ModelConfig) -> Recogniser:
        recogniser = build_recogniser(config)
        speech = recogniser.encoders["speech"]
        speech.front_end = Given(speech.front_end)
        return recogniser


class Given(nn.Module):
    """In the place of the speech front end: log-mel [B T F] comes in as values, and is normalised and masked."""

    def __init__(self, front_end: Any) -> None:
        super().__init__()
        self.n_mels, self.receptive_field = front_end.n_mels, front_end.receptive_field
        self.normalise, self.augment = front_end.normalise, front_end.augment

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.augment(self.normalise(values.transpose(1, 2), mask), mask), mask


def in_noise(mels: Tensor) -> Tensor:
    """Log-mel [B T F] with steady noise of random slopes, 0 to 40 dB under the mean power."""
    power = (mels.exp() - FLOOR).clamp(min=0)
    tilt = torch.linspace(-2, 2, mels.shape[2]) * (2 * torch.rand(len(mels), 1, 1) - 1)
    noise = tilt.exp() * torch.empty_like(mels).exponential_()
    level = power.mean((1, 2), keepdim=True) / noise.mean((1, 2), keepdim=True)
    return (power + level * 10 ** (-4 * torch.rand(len(mels), 1, 1)) * noise + FLOOR).log()


# --- batches ---


def vision_track(data: Digits, rows: Tensor, augmented: bool) -> Track:
    """Pictures [B 1 3 S S], in training turned, sized and moved a little."""
    pictures = data.pictures[rows]
    if augmented:
        count = len(rows)
        angle, scale = 0.25 * (2 * torch.rand(count) - 1), 1 + 0.15 * (2 * torch.rand(count) - 1)
        shift = 0.15 * (2 * torch.rand(count, 2) - 1)
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
        grid = functional.affine_grid(
            torch.cat([scale[:, None, None] * turn, shift[:, :, None]], 2),
            list(pictures.shape),
            align_corners=False,
        )
        pictures = functional.grid_sample(pictures, grid, align_corners=False)
    return Track(pictures[:, None].expand(-1, -1, 3, -1, -1), torch.ones(len(rows), 1, dtype=torch.bool))


@dataclass(frozen=True)
class Drawn:
    """Rows with a digit each: a clip, a word in a template and a picture of it, all by number [B]; `told`: whether
    training knows the digits."""

    classes: Tensor
    clips: Tensor
    templates: Tensor
    pictures: Tensor
    told: bool = True


def draw(data: Digits, pool: Pool, rows: int) -> Drawn:
    """Every digit as often as every other."""
    classes = torch.arange(rows) % len(WORDS)
    return Drawn(
        classes,
        _of_each(pool.clips, classes),
        torch.randint(len(TEMPLATES), classes.shape),
        _of_each(pool.pictures, classes),
    )


def draw_pairs(pool: Pool, rows: int) -> Drawn:
    """At most so many clips of the pool, each once, with the picture that stands beside it; no digit is told."""
    clips, pictures = torch.cat(pool.clips), torch.cat(pool.pictures)
    classes = torch.repeat_interleave(torch.tensor([len(own) for own in pool.clips]))
    chosen = torch.randperm(len(clips))[:rows]
    return Drawn(classes[chosen], clips[chosen], torch.zeros_like(chosen), pictures[chosen], told=False)


def batch_of(data: Digits, drawn: Drawn, modalities: Sequence[str]) -> Batch:
    """The media of some rows, clips and pictures varied."""
    inputs = {}
    if "speech" in modalities:
        inputs["speech"] = data.voices.varied(drawn.clips)
    if "text" in modalities:
        inputs["text"] = Track(
            data.words[drawn.classes, drawn.templates], data.word_mask[drawn.classes, drawn.templates]
        )
    if "vision" in modalities:
        inputs["vision"] = vision_track(data, drawn.pictures, True)
    target = functional.one_hot(drawn.classes, len(WORDS)).float()
    return Batch(inputs, {"digit": target}, {"digit": torch.full((len(target),), drawn.told)})


def _of_each(pool: Sequence[Tensor], classes: Tensor) -> Tensor:
    sizes = torch.tensor([len(own) for own in pool])[classes]
    which = (torch.rand(len(classes)) * sizes).long()
    return torch.stack([pool[c][i] for c, i in zip(classes.tolist(), which.tolist(), strict=True)])
