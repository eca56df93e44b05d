"""Sounds that are no speech, made from random numbers: what a bundle learns to tell speech from.

Noise of all colours, tones, tunes and chords, drums, motors, drops, squeaks. None was recorded, so there is no
licence to keep. A maker takes a length in samples and a random generator, and gives samples [N] of any level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affetto.features.spectral import RATE

Rng = np.random.Generator
Array = NDArray[Any]
Sound = Callable[[int, Rng], Array]


def noise(n: int, rng: Rng, slope: float = 0.0) -> Array:
    """Noise whose power falls by f^-slope: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum /= np.maximum(np.arange(len(spectrum)) * RATE / n, 20) ** (slope / 2)
    samples = np.fft.irfft(spectrum, n)
    return samples / samples.std()


def seconds(n: int) -> Array:
    return np.arange(n) / RATE


def harmonics(f0: Array | float, n: int, rng: Rng, timbre: str | None = None) -> Array:
    """A periodic sound; `f0` in Hz, for each sample or for all."""
    timbre = timbre or rng.choice(["sine", "saw", "odd", "organ", "soft"])
    f0 = np.broadcast_to(np.asarray(f0, float), n)
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    count = 1 if timbre == "sine" else max(1, min(int(7000 / f0.max()), 25))
    weights = {
        "sine": lambda k: 1.0,
        "saw": lambda k: 1 / k,
        "odd": lambda k: (k % 2) / k,
        "organ": lambda k: float(k in (1, 2, 4, 8)),
        "soft": lambda k: k**-1.5,
    }[timbre]
    parts = [weights(k) * np.sin(k * phase + rng.uniform(0, 6)) for k in range(1, count + 1)]
    samples = np.sum(parts, axis=0)
    return samples / max(samples.std(), 1e-9)


def envelope(n: int, attack: float, decay: float, sustain: float) -> Array:
    shape = sustain + (1 - sustain) * np.exp(-seconds(n) / decay)
    shape *= np.minimum(seconds(n) / attack, 1)
    return shape * np.minimum(seconds(n)[::-1] / 0.02, 1)


def notes(n: int, rng: Rng, voices: int, play: Callable[[float, int], Array]) -> Array:
    """A tune in a major scale at a tempo of its own; `play` makes a note of a pitch and a length."""
    samples = np.zeros(n)
    base, beat = rng.uniform(90, 350), rng.uniform(0.15, 0.6)
    at = 0
    while at < n:
        length = min(int(beat * rng.choice([0.5, 1, 1, 2]) * RATE), n - at)
        if length > RATE // 50:
            for _ in range(voices):
                step = rng.choice([0, 2, 4, 5, 7, 9, 11]) + 12 * rng.integers(0, 2)
                shape = envelope(length, rng.uniform(0.003, 0.05), rng.uniform(0.1, 1), rng.uniform(0, 0.8))
                samples[at : at + length] += (
                    play(base * 2 ** (step / 12), length) * shape * rng.uniform(0.5, 1)
                )
        at += length
    return samples


def drums(n: int, rng: Rng) -> Array:
    samples = np.zeros(n)
    for at in range(0, n, int(rng.uniform(0.1, 0.35) * RATE)):
        t = seconds(min(RATE // 3, n - at))
        kick = 2 * np.sin(2 * np.pi * (50 * t + 8 * np.exp(-30 * t))) * np.exp(-15 * t)
        snare = rng.standard_normal(len(t)) * np.exp(-25 * t)
        hat = np.diff(rng.standard_normal(len(t)), prepend=0) * np.exp(-60 * t)
        samples[at : at + len(t)] += (kick, snare, hat, 0 * t)[rng.integers(0, 4)]
    return samples


def gated(samples: Array, rng: Rng) -> Array:
    """On and off in turn."""
    return samples * (np.arange(len(samples)) // int(rng.uniform(0.1, 0.5) * RATE) % 2)


def swept(n: int, rng: Rng) -> Array:
    return rng.uniform(80, 500) * 2 ** (
        rng.uniform(0.3, 2) * np.sin(2 * np.pi * rng.uniform(0.1, 1.5) * seconds(n))
    )


def wobble(n: int, rng: Rng, low: float, high: float) -> Array:
    return 1 + rng.uniform(0.5, 1) * np.sin(2 * np.pi * rng.uniform(low, high) * seconds(n))


def clicks(n: int, rng: Rng, per_second: float) -> Array:
    samples = np.zeros(n)
    places = rng.integers(0, n, max(int(n / RATE * per_second), 1))
    samples[places] = rng.standard_normal(len(places))
    return np.convolve(samples, rng.standard_normal(200) * np.exp(-np.arange(200) / 30), "same")


def tune(n: int, rng: Rng, voices: int = 1) -> Array:
    timbre = rng.choice(["sine", "saw", "odd", "organ", "soft"])
    return notes(n, rng, voices, lambda f0, length: harmonics(f0, length, rng, timbre))


def resonated(samples: Array, rng: Rng, low: float, high: float) -> Array:
    """Through one to five resonances between two frequencies, as a case or a throat has them."""
    hertz = np.maximum(np.fft.rfftfreq(len(samples), 1 / RATE), 1.0)
    gain = np.zeros(len(hertz))
    for _ in range(rng.integers(1, 6)):
        centre, width = np.exp(rng.uniform(np.log(low), np.log(high))), rng.uniform(10, 200)
        gain += rng.uniform(0.3, 1) / np.hypot((hertz**2 - centre**2) / (centre * width), 1)
    heard = np.fft.irfft(np.fft.rfft(samples) * gain, len(samples))
    return heard / max(heard.std(), 1e-9)


def motor(n: int, rng: Rng) -> Array:
    """Strokes, even or uneven, that ring in a case."""
    rate = rng.uniform(8, 120) * 2 ** (0.4 * np.interp(seconds(n), np.arange(8), rng.uniform(-1, 1, 8)))
    strokes = np.flatnonzero(np.diff(np.floor(np.cumsum(rate) / RATE), prepend=0) > 0)
    uneven = rng.choice([0, 40]) * rng.standard_normal(len(strokes))
    samples = np.zeros(n)
    samples[np.clip(strokes + uneven.astype(int), 0, n - 1)] = rng.uniform(0.7, 1.3, len(strokes))
    return resonated(samples, rng, 80, 1500) + rng.uniform(0, 0.4) * noise(n, rng, 1)


def patter(n: int, rng: Rng) -> Array:
    """Knocks at random, from three to nine hundred a second."""
    samples = np.zeros(n)
    places = rng.integers(0, n, max(int(n / RATE * np.exp(rng.uniform(np.log(3), np.log(900)))), 1))
    samples[places] = rng.laplace(size=len(places))
    return resonated(samples, rng, 200, 6500) + rng.uniform(0, 0.3) * noise(n, rng)


def squeaks(n: int, rng: Rng) -> Array:
    """Short whistles that bend."""
    samples, at = np.zeros(n), 0
    while at < n:
        length = min(int(rng.uniform(0.03, 0.5) * RATE) + 1, n - at)
        bend = np.interp(np.linspace(0, 3, length), np.arange(4), rng.uniform(-0.6, 0.6, 4))
        f0 = np.exp(rng.uniform(np.log(300), np.log(6000))) * 2**bend
        timbre = "sine" if rng.random() < 0.5 else "soft"
        samples[at : at + length] = harmonics(f0, length, rng, timbre) * np.hanning(length)
        at += length + int(rng.uniform(0.01, 0.6) * RATE)
    return samples


def chopper(n: int, rng: Rng) -> Array:
    """Noise that starts anew with every blade."""
    since = seconds(n) * rng.uniform(4, 60) % 1
    return noise(n, rng, rng.uniform(0, 2)) * np.exp(-rng.uniform(1, 12) * since)


#: Every kind by its name.
SOUNDS: Mapping[str, Sound] = {
    "white, pink, brown": lambda n, rng: noise(n, rng, rng.choice([0, 1, 2])),
    "throbbing noise": lambda n, rng: noise(n, rng, rng.uniform(0, 1.5)) * wobble(n, rng, 0.5, 8),
    "bursts of noise": lambda n, rng: gated(noise(n, rng, rng.uniform(0, 1.5)), rng),
    "tone": lambda n, rng: harmonics(np.exp(rng.uniform(4.1, 8.3)), n, rng),
    "sweep": lambda n, rng: harmonics(swept(n, rng), n, rng),
    "hum": lambda n, rng: harmonics(50, n, rng, "saw") + 0.1 * noise(n, rng, 1),
    "tune": tune,
    "chords": lambda n, rng: tune(n, rng, 3),
    "drums": drums,
    "clicks": lambda n, rng: clicks(n, rng, rng.uniform(1, 20)),
    "motor": motor,
    "patter": patter,
    "squeaks": squeaks,
    "chopper": chopper,
}


def make_sounds(each: int, rng: Rng, kinds: Mapping[str, Sound] = SOUNDS) -> Iterator[tuple[str, Array]]:
    """`each` sounds of every kind with its name: 1.5, 3 or 6 s [N] float32 at 16 kHz in [-1, 1], half of them in
    noise of 10 to 30 dB."""
    for name, make in kinds.items():
        for _ in range(each):
            samples = make(int(rng.choice([1.5, 3, 6]) * RATE), rng)
            samples = samples / np.abs(samples).max() * 10 ** (rng.uniform(-30, -1) / 20)
            if rng.random() < 0.5:
                samples = in_noise(samples, rng.choice([10, 15, 20, 30]), rng)
            yield name, np.clip(samples, -1, 1).astype(np.float32)


def in_noise(samples: Array, snr: float, rng: Rng) -> Array:
    """Samples [N] with white, pink or brown noise `snr` dB below them."""
    level = samples.std() * 10 ** (-snr / 20)
    return samples + level * noise(len(samples), rng, rng.choice([0, 1, 2]))
