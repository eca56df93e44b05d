"""Recordings that are one recording: re-encoded, louder, noisier, faster, higher, with other silence around.

A print is what survives all of that: how loud the sound is over time. Its coarse form, the spectrum of that
curve, does not move with silence before or after, so that recordings alike are near neighbours among vectors;
neighbours are then laid over one another, at every offset and some tempi, and their spectra compared at every
small shift of pitch. Two takes of one sentence by one actor agree in the first (0.97 was measured) and not in
the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from affetto.align.clock import RATE

_HOP = 160  # samples
_FFT = 512
_BANDS_PER_OCTAVE, _OCTAVES, _LOWEST = 12, 6, 100.0  # Hz
_SMOOTH = np.hanning(9)[1:-1] / np.hanning(9).sum()
_CURVE = 1024  # frames of the spectrum of the curve
_FASTEST = 128  # its bins: 12.5 Hz
_PLACES = np.geomspace(2, _FASTEST, 40)
_TEMPI = (1.0, 0.9, 0.925, 0.95, 0.975, 1.025, 1.05, 1.075, 1.1)
_SEMITONES = 5
_SILENT = 0.05  # of the loudest
_SHORTEST = 0.8  # seconds: shorter sounds are alike without being copies
_NEIGHBOURS = 8
_NEAR = 0.9  # cosine of coarse prints
_ALIKE = 0.8  # correlation of the curves over time
SAME = 0.7  # correlation of the spectra


@dataclass(frozen=True)
class Print:
    """What is kept of a recording. coarse: [40] of norm 1; curve: [T] loudness, 100 a second; spectrum: [T B]."""

    coarse: NDArray[np.float32]
    curve: NDArray[np.float32]
    spectrum: NDArray[np.float16]


def fingerprint(samples: NDArray[np.float32]) -> Print | None:
    """The print of a recording [N] at 16 kHz; None for less than 0.8 s of sound."""
    energy = (samples[: len(samples) - len(samples) % _HOP].reshape(-1, _HOP) ** 2).sum(axis=1)
    curve = np.convolve(np.sqrt(energy), _SMOOTH, "same").astype(np.float32) if len(energy) else energy
    curve -= np.percentile(curve, 5) if len(curve) else 0.0
    loud = np.flatnonzero(curve > _SILENT * curve.max(initial=1e-9))
    if len(loud) < _SHORTEST * RATE / _HOP:
        return None
    first, last = int(loud[0]), int(loud[-1]) + 1
    curve = curve[first:last]
    return Print(_coarse(curve), curve, _spectrum(samples[first * _HOP : last * _HOP]))


def _spectrum(samples: NDArray[np.float32]) -> NDArray[np.float16]:
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, (0, _FFT)), _FFT)[:: 2 * _HOP]
    power = np.abs(np.fft.rfft(frames * _WINDOW, axis=1)) ** 2
    bands = power @ _BANDS.T
    return np.log(bands + 1e-3 * bands.max()).astype(np.float16)


def copies(prints: Sequence[Print | None]) -> Iterator[tuple[int, int, float]]:
    """Pairs (i, j, how alike) of recordings, i < j, that are one recording; likeness from `SAME` to 1."""
    known = [(place, one) for place, one in enumerate(prints) if one is not None]
    coarse = np.stack([one.coarse for _, one in known]) if known else np.zeros((0, 1), np.float32)
    for row, column in _neighbours(coarse):
        (i, one), (j, other) = known[row], known[column]
        score = likeness(one, other)
        if score >= SAME:
            yield i, j, score


def likeness(one: Print, other: Print) -> float:
    """How alike two recordings are at the best offset, tempo and shift of pitch: 1 the same, 0 nothing."""
    score, offset, tempo = _overlay(one.curve, other.curve)
    if score < _ALIKE:
        return 0.0
    return _spectral(one.spectrum, _stretched(other.spectrum, tempo), round(offset / 2))


def _coarse(curve: NDArray[np.float32]) -> NDArray[np.float32]:
    spectrum = np.abs(np.fft.rfft(curve / np.linalg.norm(curve), _CURVE))[1 : _FASTEST + 1]
    # Pooled on a logarithmic axis: another tempo moves it by little.
    pooled = np.sqrt(_pooling() @ spectrum)
    pooled -= pooled.mean()
    return (pooled / np.linalg.norm(pooled)).astype(np.float32)


def _neighbours(coarse: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Pairs of rows that are near one another, each once, in blocks that fit into memory."""
    seen: set[tuple[int, int]] = set()
    for start in range(0, len(coarse), 512):
        near = coarse[start : start + 512] @ coarse.T
        near[np.arange(len(near)), start + np.arange(len(near))] = -1
        count = min(_NEIGHBOURS, len(coarse) - 1)
        best = np.argpartition(-near, count - 1, axis=1)[:, :count] if count > 0 else np.zeros((0, 0), int)
        for row, columns in enumerate(best):
            for column in columns:
                pair = (min(start + row, int(column)), max(start + row, int(column)))
                if near[row, column] >= _NEAR and pair not in seen:
                    seen.add(pair)
                    yield pair


def _overlay(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, int, float]:
    """The highest correlation of two curves, how many frames `other` then begins after `one`, and its tempo."""
    curves = [one, *(_stretched(other, tempo) for tempo in _TEMPI)]
    size = 1 << (len(one) + max(map(len, curves))).bit_length()
    padded = np.zeros((len(curves), size), np.float32)
    for row, curve in zip(padded, curves, strict=True):
        row[: len(curve)] = curve - curve.sum() / len(curve)
    power = np.einsum("tf,tf->t", padded, padded)
    spectra = np.fft.rfft(padded, axis=1)
    products = np.fft.irfft(spectra[0] * np.conj(spectra[1:]), size, axis=1)
    scores = products.max(axis=1) / np.sqrt(power[0] * power[1:] + 1e-12)
    best = int(scores.argmax())
    at = int(products[best].argmax())
    return float(scores[best]), at if at < len(one) else at - size, _TEMPI[best]


def _spectral(one: NDArray[np.floating], other: NDArray[np.floating], offset: int) -> float:
    first, last = max(offset, 0), min(len(one), offset + len(other))
    one, other = one[first:last].astype(np.float32), other[first - offset : last - offset].astype(np.float32)
    bands, best = one.shape[1], 0.0
    for shift in range(-_SEMITONES, _SEMITONES + 1):
        low, high = max(shift, 0), bands + min(shift, 0)
        best = max(best, _correlation(one[:, low:high], other[:, low - shift : high - shift]))
    return best


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Of what changes over time in each band, apart from how loud the frame is."""
    one, other = (x - x.mean(axis=1, keepdims=True) for x in (one, other))
    one, other = (x - x.mean(axis=0) for x in (one, other))
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum() + 1e-9))


def _stretched(values: NDArray[np.floating], tempo: float) -> NDArray[np.floating]:
    return values if tempo == 1.0 else values[_stretched_places(len(values), tempo)]


@lru_cache(maxsize=8192)  # recordings of one length are many
def _stretched_places(length: int, tempo: float) -> NDArray[np.intp]:
    return np.minimum(np.round(np.arange(round(length * tempo)) / tempo).astype(np.intp), length - 1)


def _semitones() -> NDArray[np.float32]:
    """[B F]: triangles a semitone apart, wide enough to hold a bin."""
    centres = _LOWEST * 2 ** (np.arange(_OCTAVES * _BANDS_PER_OCTAVE) / _BANDS_PER_OCTAVE)
    width = np.maximum(centres * 2 ** (1 / _BANDS_PER_OCTAVE) - centres, RATE / _FFT)
    distance = np.abs(np.fft.rfftfreq(_FFT, 1 / RATE)[None] - centres[:, None]) / width[:, None]
    return np.clip(1 - distance, 0, None).astype(np.float32)


def _pooling() -> NDArray[np.float64]:
    """[40 128]: weights of the bins around each place of a logarithmic axis."""
    distance = np.log(np.arange(1, _FASTEST + 1))[None] - np.log(_PLACES)[:, None]
    weights = np.exp(-0.5 * (distance / 0.08) ** 2) + 1e-9
    return weights / weights.sum(axis=1, keepdims=True)


_WINDOW = np.hanning(_FFT).astype(np.float32)
_BANDS = _semitones()
