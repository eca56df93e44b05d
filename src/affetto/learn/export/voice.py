"""What tells a voice from other sounds, fitted on what a bundle's speech part makes of both.

Speech is what the model was trained on, cut into stretches as short as a word; other sounds are made (see `sounds`).
Both are heard through the same rooms, telephones and noises, so that none of these tells them apart. The function is
that of logistic regression, drawn towards nothing, with both classes of equal weight; its bias is then set by
people held out, few of whose stretches may be refused: an emotion of a motor is worse than none, but not as bad as a
person who is not heard.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from affetto.bundle import FUSION, Bundle, Voice
from affetto.evaluation.calibration import threshold_for_coverage
from affetto.features.spectral import RATE
from affetto.learn.export.parts import Parts, padded
from affetto.learn.export.sounds import Array, Rng, in_noise, make_sounds
from affetto.learn.training.augmentation import random_crop, reverberate
from affetto.predictor import frame_statistics

#: Recordings of speech below which no function is fitted.
FEWEST = 200
_EACH = 60  # sounds of each kind
_KEPT = 0.997  # of the stretches of people held out
_STRENGTH = 3.0  # of the penalty on weights of values scaled to one
_SHORTEST, _LONGEST = 0.4, 4.0  # seconds of a stretch
_TELEPHONE = (300.0, 3400.0)  # Hz
_STEPS = 100  # of L-BFGS; the loss is convex

Doubles = NDArray[np.float64]
Waveform = NDArray[np.float32]


def fit_voice(
    bundle: Bundle, speech: Sequence[Waveform], held_out: Sequence[Waveform], rng: Rng
) -> Voice | None:
    """The `voice` of a bundle's speech part, from recordings [N] at 16 kHz of people that it learnt from, and of
    others; None where there are fewer than `FEWEST` of either."""
    if min(len(speech), len(held_out)) < FEWEST:
        return None
    precision = bundle.precisions()[0]
    parts = Parts({name: bundle.read_part(name, precision) for name in ("speech", FUSION)})
    voices = _heard(parts, (_elsewhere(_stretch(x, rng), rng) for x in speech))
    others = _heard(parts, (_elsewhere(x, rng) for _, x in make_sounds(_EACH, rng)))
    weights = np.array([float(f"{weight:.6g}") for weight in _logistic_regression(voices, others)])
    known = _heard(parts, (_stretch(x, rng) for x in held_out))
    bias = -threshold_for_coverage(known @ weights, _KEPT)
    # Rounded up, so that nobody is refused for how a sum is rounded.
    return Voice(weights=tuple(weights.tolist()), bias=math.ceil(bias * 1e6) / 1e6)


def _stretch(recording: Waveform, rng: Rng) -> Waveform:
    """The whole, or as often a part of it."""
    if rng.random() < 0.5:
        return recording
    return random_crop(recording, round(rng.uniform(_SHORTEST, _LONGEST) * RATE), rng)[0]


def _elsewhere(samples: Array, rng: Rng) -> Array:
    """Samples [N] as heard in a room, over a telephone, in noise, or not."""
    if rng.random() < 0.3:
        samples = reverberate(samples, rng.uniform(0.1, 0.6), rng.uniform(0.1, 1.0), rng)
    if rng.random() < 0.3:
        spectrum, hertz = np.fft.rfft(samples), np.fft.rfftfreq(len(samples), 1 / RATE)
        spectrum[(hertz < _TELEPHONE[0]) | (hertz > _TELEPHONE[1])] = 0
        samples = np.fft.irfft(spectrum, len(samples))
    if rng.random() < 0.7:
        samples = in_noise(samples, rng.choice([40, 30, 20, 15, 10]), rng)
    return np.clip(samples, -1, 1).astype(np.float32)


def _heard(parts: Parts, sounds: Iterable[Array]) -> Doubles:
    """What the speech part makes of sounds [N], as `frame_statistics` [S 2 D]."""
    return np.stack([frame_statistics(parts.encode("speech", *padded([x])).values[0]) for x in sounds])


def _logistic_regression(voices: Doubles, others: Doubles) -> Doubles:
    """Weights [D] of the function that is high for the rows of the first and low for those of the second."""
    rows = np.concatenate([voices, others])
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    x, truth = torch.from_numpy((rows - mean) / scale), torch.zeros(len(rows), dtype=torch.float64)
    truth[: len(voices)] = 1
    each = torch.where(truth > 0, 0.5 / len(voices), 0.5 / len(others)) * len(rows)
    found = nn.Linear(rows.shape[1], 1, dtype=torch.float64)
    nn.init.zeros_(found.weight)
    nn.init.zeros_(found.bias)
    optimiser = torch.optim.LBFGS(found.parameters(), max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        said = F.binary_cross_entropy_with_logits(found(x)[:, 0], truth, each, reduction="sum")
        loss = said + _STRENGTH / 2 * found.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return found.weight.detach().numpy()[0] / scale
