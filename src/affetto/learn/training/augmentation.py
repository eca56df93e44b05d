"""Augmentation: arrays in, arrays out, all randomness from the Generator handed in.

The loader seeds one Generator per (seed, epoch, draw), so neither the order in which clips are loaded nor the
number of workers changes what a clip becomes. Waveforms are [N] float32 at 16 kHz in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
import soxr
from numpy.typing import NDArray

from affetto.learn.config import AugmentConfig

Waveform = NDArray[np.float32]
Planes = NDArray[np.float32]

Sample = TypeVar("Sample", np.int16, np.float32)

RATE = 16000
_NOISE_SECONDS = 60  # one bank per colour; a random offset into a minute is as good as fresh noise, and free


@dataclass(frozen=True)
class Stretch:
    """What is heard of a clip: what comes after its first `start` seconds, `speed` times as fast, for `seconds`."""

    start: float = 0.0
    speed: float = 1.0
    seconds: float = math.inf

    def times(self, times: NDArray[np.float32]) -> NDArray[np.float32]:
        """Times of the clip [T] in seconds on the clock of what is heard; what is not heard lies outside."""
        return (times - np.float32(self.start)) / np.float32(self.speed)

    def source(self, times: NDArray[np.float32]) -> NDArray[np.float32]:
        """Times on the clock of what is heard as times of the clip [T]: the way back."""
        return times * np.float32(self.speed) + np.float32(self.start)


def augment_speech(
    stored: NDArray[np.int16],
    samples: int,
    config: AugmentConfig,
    rng: np.random.Generator,
    voices: Callable[[np.random.Generator], Waveform],
) -> tuple[Waveform, Stretch]:
    """At most `samples` of a clip stored as int16 [N]: cropped, faster or slower, in a room, noisy, louder.

    `voices` gives another clip of the corpora, for babble. The order is that of nature: the voice, the room,
    what else sounds there, the microphone. Returns with it which stretch of the clip is heard.
    """
    factor = float(rng.uniform(*config.speed_range)) if rng.random() < config.speed_probability else 1.0
    cropped, first = random_crop(stored, round(samples * factor), rng)
    waveform = cropped.astype(np.float32) / np.float32(32768.0)
    if factor != 1.0:
        waveform = change_speed(waveform, factor)[:samples]
    if rng.random() < config.reverb_probability:
        waveform = reverberate(waveform, float(rng.uniform(0.1, 0.6)), float(rng.uniform(0.05, 1.0)), rng)
    if rng.random() < config.noise_probability:
        snr = float(rng.uniform(config.snr_low, config.snr_high))
        waveform = add_noise(waveform, random_noise(len(waveform), rng, voices), snr)
    gain = np.float32(10.0 ** (rng.uniform(-config.gain_db, config.gain_db) / 20.0))
    return np.clip(waveform * gain, -1.0, 1.0), Stretch(first / RATE, factor, len(waveform) / RATE)


def augment_image(image: Planes, config: AugmentConfig, rng: np.random.Generator) -> Planes:
    """Planes [C S S] in [0, 1]: mirrored, turned and sized, moved, blurred, partly hidden, in another light."""
    if rng.random() < config.flip:
        image = image[:, :, ::-1]
    if config.image_rotation or config.image_scale:
        degrees = float(rng.uniform(-config.image_rotation, config.image_rotation))
        scale = float(np.exp(rng.uniform(-1, 1) * np.log1p(config.image_scale)))
        image = turn_image(image, degrees, scale)
    reach = round(config.image_shift * image.shape[-1])
    if reach:
        down, right = rng.integers(-reach, reach + 1, 2)
        image = shift_image(image, int(down), int(right))
    if config.image_blur:
        image = blur_image(image, float(rng.uniform(0.0, config.image_blur)))
    if rng.random() < config.image_erase:
        image = erase_patch(image, rng)
    if rng.random() < config.image_contrast:
        image = change_contrast(image, float(rng.uniform(0.7, 1.3)), float(rng.uniform(-0.15, 0.15)))
    return image


def random_crop(
    waveform: NDArray[Sample], samples: int, rng: np.random.Generator
) -> tuple[NDArray[Sample], int]:
    """A random stretch of at most `samples` and the place of its first; a shorter waveform comes back whole."""
    if len(waveform) <= samples:
        return waveform, 0
    start = int(rng.integers(0, len(waveform) - samples + 1))
    return waveform[start : start + samples], start


def add_noise(waveform: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Noise [>= N] mixed in at a signal-to-noise ratio, in dB of mean power over the clip.

    Silence on either side comes back unchanged: no ratio can be reached.
    """
    noise = noise[: len(waveform)]
    signal_power, noise_power = _power(waveform), _power(noise)
    if signal_power == 0.0 or noise_power == 0.0:
        return waveform
    scale = np.float32(np.sqrt(signal_power / noise_power * 10.0 ** (-snr_db / 10.0)))
    return waveform + scale * noise


def change_speed(waveform: Waveform, factor: float) -> Waveform:
    """Faster and higher (factor > 1) or slower and lower: length N / factor (Ko et al. 2015)."""
    return soxr.resample(waveform, RATE * factor, RATE, quality="LQ").astype(np.float32, copy=False)


def reverberate(waveform: Waveform, decay_seconds: float, wet: float, rng: np.random.Generator) -> Waveform:
    """A synthetic room: the direct sound, then exponentially decaying noise (60 dB in `decay_seconds`).

    Moorer 1979, "About This Reverberation Business". `wet` is the energy of the tail against the direct
    sound. Length and mean power of the input are kept.
    """
    length = max(2, round(decay_seconds * RATE))
    envelope = np.exp(np.linspace(0.0, -6.9, length, dtype=np.float32))  # e^-6.9 is -60 dB
    impulse = rng.standard_normal(length, dtype=np.float32) * envelope
    impulse *= np.float32(np.sqrt(wet / np.square(impulse).sum()))
    impulse[0] = 1.0
    size = -(-(len(waveform) + length) // 1024) * 1024  # a round transform length: primes are slow
    wet_wave = np.fft.irfft(np.fft.rfft(waveform, size) * np.fft.rfft(impulse, size), size)[: len(waveform)]
    before, after = _power(waveform), _power(wet_wave)
    scale = np.sqrt(before / after) if after > 0.0 else 1.0
    return (wet_wave * scale).astype(np.float32, copy=False)


def random_noise(
    length: int, rng: np.random.Generator, voices: Callable[[np.random.Generator], Waveform]
) -> Waveform:
    """White noise, pink noise or babble [length], each as likely."""
    kind = int(rng.integers(3))
    if kind == 2:
        return babble(voices, length, rng)
    return coloured_noise("white" if kind == 0 else "pink", length, rng)


def coloured_noise(colour: Literal["white", "pink"], length: int, rng: np.random.Generator) -> Waveform:
    """Noise [length] with a flat ("white") or 1/f ("pink") power spectrum."""
    bank = _noise_bank(colour)
    return np.take(bank, np.arange(length) + int(rng.integers(len(bank))), mode="wrap")


def babble(
    others: Callable[[np.random.Generator], Waveform], length: int, rng: np.random.Generator
) -> Waveform:
    """Three to six other clips talking at once, each at the same power, repeated to [length]."""
    mixture = np.zeros(length, dtype=np.float32)
    for _ in range(int(rng.integers(3, 7))):
        voice = others(rng)
        power = _power(voice)
        if power > 0.0:
            start = int(rng.integers(len(voice)))
            mixture += np.take(voice, np.arange(length) + start, mode="wrap") / np.float32(np.sqrt(power))
    return mixture


def drop_words(
    ids: NDArray[np.int64],
    probability: float,
    unknown: int,
    rng: np.random.Generator,
    special: Sequence[int] = (),
) -> NDArray[np.int64]:
    """Token ids [T] with some, but none of `special`, replaced by the unknown token.

    Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic Methods" (word dropout).
    """
    dropped = (rng.random(len(ids)) < probability) & ~np.isin(ids, special)
    return np.where(dropped, np.int64(unknown), ids)


def shift_image(image: Planes, down: int, right: int) -> Planes:
    """Planes [C S S] moved by whole pixels; the edge is repeated."""
    rows = np.clip(np.arange(image.shape[1]) - down, 0, image.shape[1] - 1)
    columns = np.clip(np.arange(image.shape[2]) - right, 0, image.shape[2] - 1)
    return image[:, rows[:, None], columns[None, :]]


def turn_image(image: Planes, degrees: float, scale: float) -> Planes:
    """Planes [C S S] turned about their middle and enlarged by `scale`, bilinear; the edge is repeated."""
    size = image.shape[-1]
    middle = (size - 1) / 2
    down, right = np.mgrid[:size, :size] - middle
    sine, cosine = np.sin(np.radians(degrees)) / scale, np.cos(np.radians(degrees)) / scale
    rows = np.clip(cosine * down + sine * right + middle, 0, size - 1).astype(np.float32)
    columns = np.clip(cosine * right - sine * down + middle, 0, size - 1).astype(np.float32)
    top, left = np.minimum(rows.astype(np.intp), size - 2), np.minimum(columns.astype(np.intp), size - 2)
    below, beside = rows - top, columns - left
    upper = image[:, top, left] * (1 - beside) + image[:, top, left + 1] * beside
    lower = image[:, top + 1, left] * (1 - beside) + image[:, top + 1, left + 1] * beside
    return upper * (1 - below) + lower * below


def blur_image(image: Planes, sigma: float) -> Planes:
    """Planes [C S S] blurred by a Gaussian of deviation `sigma` in pixels; the edge is repeated."""
    if sigma <= 0.0:
        return image
    size = image.shape[-1]
    reach = np.arange(-int(np.ceil(3 * sigma)), int(np.ceil(3 * sigma)) + 1)
    weights = np.exp(-0.5 * np.square(reach / sigma)).astype(np.float32)
    matrix = np.zeros((size, size), dtype=np.float32)
    for step, weight in zip(reach, weights / weights.sum(), strict=True):
        matrix[np.arange(size), np.clip(np.arange(size) + step, 0, size - 1)] += weight
    return (matrix @ image @ matrix.T).astype(np.float32, copy=False)


def erase_patch(image: Planes, rng: np.random.Generator) -> Planes:
    """A rectangle, a tenth to a third of each side, set to the mean (Zhong et al. 2020, "Random Erasing")."""
    size = image.shape[-1]
    height, width = rng.integers(max(1, size // 10), max(2, size // 3 + 1), 2)
    top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
    erased = image.copy()
    erased[:, top : top + height, left : left + width] = image.mean()
    return erased


def change_contrast(image: Planes, contrast: float, brightness: float) -> Planes:
    """Distances from the mean scaled by `contrast`, then `brightness` added; clipped to [0, 1]."""
    mean = image.mean()
    return np.clip((image - mean) * np.float32(contrast) + mean + np.float32(brightness), 0.0, 1.0)


@lru_cache(maxsize=2)
def _noise_bank(colour: Literal["white", "pink"]) -> Waveform:
    noise = np.random.default_rng(0).standard_normal(_NOISE_SECONDS * RATE, dtype=np.float32)
    if colour == "pink":
        spectrum = np.fft.rfft(noise)
        spectrum[0] = 0.0
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum), dtype=np.float32))
        noise = np.fft.irfft(spectrum, len(noise)).astype(np.float32)
    noise.flags.writeable = False
    return noise


def _power(waveform: NDArray[np.floating]) -> float:
    return float(np.square(waveform, dtype=np.float64).mean()) if len(waveform) else 0.0
