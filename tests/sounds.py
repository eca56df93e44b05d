"""Sounds that tests are made of."""

from __future__ import annotations

import numpy as np

#: First and second formants of five vowels, in Hz.
_VOWELS = np.array([[730, 1090], [270, 2290], [300, 870], [530, 1840], [570, 840]])


def voice_like(seconds: float, *, seed: int = 0, rate: int = 16000) -> np.ndarray:
    """What passes for speech: vowels and hisses in turn, and a pitch that glides and trembles. float32 [N]."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    syllable, place = np.divmod(t / 0.2, 1)
    formants = _VOWELS[rng.integers(0, len(_VOWELS), int(seconds / 0.2) + 1)][syllable.astype(int)].T
    tremble = rng.normal(0, 1.5, int(seconds * 100) + 2)
    pitch = 120 + 40 * rng.random() + 30 * np.sin(2 * np.pi * 0.7 * t)
    pitch += np.interp(t, np.arange(len(tremble)) / 100, tremble)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    vowels = sum(
        np.sin(k * phase) / (1 + ((k * pitch - formant) / 80) ** 2)
        for k in range(1, 24)
        for formant in formants
    )
    hiss = np.diff(rng.normal(size=len(t) + 1)) * (place > 0.75)
    sound = np.where(place < 0.7, vowels * np.sin(np.pi * place / 0.7), 0.2 * hiss)
    return (0.1 * sound + 0.0003 * rng.normal(size=len(t))).astype(np.float32)
