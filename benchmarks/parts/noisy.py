"""Recordings in noise, as a model hears them in place of the clean ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from affetto.learn.training.augmentation import add_noise, babble, coloured_noise
from affetto.records import Clip

SNR_DB = 10.0
NOISES = ("babble", "pink")


def in_noise(
    clips: Sequence[Clip], voice: Callable[[Clip], np.ndarray], noise: str
) -> Callable[..., np.ndarray]:
    """A decoder of the clips with noise at 10 dB; babble is made of those of other speakers. `voice` gives a clip's
    samples [N] without any."""
    rng = np.random.default_rng(0)
    by_path = {str(clip.speech): clip for clip in clips}

    def decode(path: str, *, start: float | None, end: float | None) -> np.ndarray:
        clip = by_path[path]
        samples = voice(clip)
        others = [other for other in clips if other.speaker != clip.speaker]
        if noise == "pink":
            made = coloured_noise("pink", len(samples), rng)
        else:
            made = babble(lambda draw: voice(others[draw.integers(len(others))]), len(samples), rng)
        mixed = add_noise(samples, made, SNR_DB)
        return mixed / max(1.0, float(np.abs(mixed).max()))

    return decode
