"""Pitch and energy of speech, on the clock of `affetto.features.spectral`.

The pitch tracker follows Boersma (1993): the peaks of a normalised autocorrelation are candidates, higher
ones with a small advantage, and one dynamic programme over candidates and "unvoiced" finds the path that is
strong and has few jumps. Likeness is McLeod & Wyvill's (2005): twice the correlation of the two parts of a
frame that a lag sets against each other, over their summed power; 1 is a perfect period, white noise stays
below 0.2.

Against librosa's pYIN on 24 clips of acted speech (English, German, Polish): where both are voiced, the two
agree within 3 % in 91 % of frames and differ by an octave in 2 %; they agree on voicing in 84 % of frames.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from affetto.features.spectral import HOP, RATE, WINDOW, Floats, check_waveform, frame_times

F0_MIN, F0_MAX = 60.0, 500.0  # Hz, from a low male voice to an excited female or child's voice

_SHORTEST = int(RATE / F0_MAX)  # 32 samples
_LONGEST = int(np.ceil(RATE / F0_MIN))  # 267 samples
_FRAME = 800  # samples: 50 ms, three of the longest periods
_FFT = 1080  # at least _FRAME + _LONGEST, so that the circular correlation is a plain one
_BLOCK = 200  # frames at once
_CANDIDATES = 5  # per frame

# Costs in units of likeness, all Boersma's.
_VOICING = 0.45  # strength of "unvoiced"
_SILENCE = 0.03  # loudness, as a share of the loudest frame's, below which "unvoiced" becomes stronger
_OCTAVE = 0.01  # advantage of a candidate an octave higher
_OCTAVE_JUMP = 0.35  # per octave between neighbouring frames
_SWITCH = 0.14  # between voiced and unvoiced
_QUIET = 1e-4  # root mean square (-80 dB of full scale) below which nothing counts as voiced
# Voicing by pYIN on the clips above is a logistic function of likeness around 0.449; its slope, 5 to 12.
_SLOPE = 10.0


def pitch(waveform: np.ndarray) -> tuple[Floats, Floats, Floats]:
    """Fundamental frequency between 60 and 500 Hz: [N] -> (f0 [T], probability [T], times [T]).

    f0 is in Hz, 0 where a frame is unvoiced; probability is that of the frame being voiced, judged by itself,
    where f0 also heeds its neighbours; times are frame centres in seconds, those of `log_mel`. A frame looks
    at the 50 ms around its centre, beyond the ends of the waveform at silence.

    Raises MediaError `audio_too_short` (under 25 ms) and `audio_not_finite`.
    """
    samples = check_waveform(waveform)
    loudness = energy(samples)
    frames = _frames(samples)
    frequencies = np.empty((len(frames), _CANDIDATES), np.float32)
    likeness = np.empty((len(frames), _CANDIDATES), np.float32)
    for start in range(0, len(frames), _BLOCK):
        part = slice(start, start + _BLOCK)
        frequencies[part], likeness[part] = _candidates(frames[part])
    f0 = _best_path(frequencies, likeness, _unvoiced_strength(loudness))
    best = likeness.max(axis=1)
    probability = np.where(best > 0, 1 / (1 + np.exp(-_SLOPE * (best - _VOICING))), 0.0)
    return f0, probability.astype(np.float32), frame_times(len(frames))


def energy(waveform: np.ndarray) -> Floats:
    """Root mean square of each 25 ms frame: [N] -> [T], on the clock of `log_mel`. Raises as `pitch` does."""
    frames = sliding_window_view(check_waveform(waveform), WINDOW)[::HOP]
    return np.sqrt(np.einsum("tn,tn->t", frames, frames) / WINDOW)


def _frames(samples: Floats) -> Floats:
    """Frames [T, _FRAME] centred on those of `log_mel`."""
    padded = np.pad(samples, (_FRAME - WINDOW) // 2)
    return sliding_window_view(padded, _FRAME)[::HOP]


def _candidates(frames: Floats) -> tuple[Floats, Floats]:
    """Frequency [n, _CANDIDATES] in Hz and likeness of each, strongest first; likeness 0 = no candidate."""
    likeness = _likeness(frames)
    inner = likeness[:, 1:-1]
    peak = (inner >= likeness[:, :-2]) & (inner > likeness[:, 2:]) & (inner > 0)
    lags = np.arange(_SHORTEST + 1, _LONGEST)
    strength = np.where(peak, inner - _OCTAVE * np.log2(lags), -np.inf)
    rows = np.arange(len(strength))[:, None]
    best = np.argsort(-strength, axis=1, kind="stable")[:, :_CANDIDATES]
    found = peak[rows, best]
    # The vertex of the parabola through a peak and its two neighbours.
    left, middle, right = (likeness[rows, best + shift] for shift in (0, 1, 2))
    offset = np.where(found, 0.5 * (right - left), 0.0) / np.where(found, 2 * middle - left - right, 1.0)
    height = np.where(found, middle + 0.25 * (right - left) * offset, 0.0)
    return (RATE / (lags[best] + offset)).astype(np.float32), height.astype(np.float32)


def _likeness(frames: Floats) -> NDArray[np.float64]:
    """Likeness of a frame to itself at lags _SHORTEST.._LONGEST: [n, _FRAME] -> [n, lags] in [-1, 1].

    At each lag all pairs of samples in the frame are compared, so that every lag is measured around the same
    centre: a span of fixed length would drift by half the lag, an error wherever the pitch moves.
    """
    frames = frames - frames.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(frames, _FFT, axis=1))
    correlation = np.fft.irfft(spectrum * spectrum, _FFT, axis=1)[:, _SHORTEST : _LONGEST + 1]
    squares = np.cumsum(np.square(frames, dtype=np.float64), axis=1)
    total = squares[:, -1:]
    # Power of the first and of the last _FRAME - lag samples.
    first = squares[:, _FRAME - 1 - _LONGEST : _FRAME - _SHORTEST][:, ::-1]
    last = total - squares[:, _SHORTEST - 1 : _LONGEST]
    quiet = total < _FRAME * _QUIET**2
    return np.where(quiet, 0.0, 2 * correlation / np.maximum(first + last, 1e-20))


def _unvoiced_strength(loudness: Floats) -> Floats:
    relative = loudness / np.maximum(loudness.max(), np.float32(1e-20))
    return _VOICING + np.maximum(0.0, 2.0 - relative * (1 + _VOICING) / _SILENCE)


def _best_path(frequencies: Floats, likeness: Floats, unvoiced: Floats) -> Floats:
    """The strongest sequence of candidates and "unvoiced" (Viterbi): [T] Hz, 0 = unvoiced."""
    octaves = np.log2(frequencies / F0_MIN)
    strength = np.where(likeness > 0, likeness + _OCTAVE * octaves, -np.inf)
    scores = np.column_stack([strength, unvoiced]).astype(np.float64)
    jumps = np.full((_CANDIDATES + 1, _CANDIDATES + 1), -_SWITCH)
    jumps[-1, -1] = 0.0
    came_from = np.empty(scores.shape, np.int8)
    total = scores[0]
    for t in range(1, len(scores)):
        jumps[:-1, :-1] = -_OCTAVE_JUMP * np.abs(octaves[t - 1][:, None] - octaves[t])
        reached = total[:, None] + jumps
        came_from[t] = reached.argmax(axis=0)
        total = reached.max(axis=0) + scores[t]
    f0 = np.zeros(len(scores), np.float32)
    state = int(total.argmax())
    for t in range(len(scores) - 1, -1, -1):
        if state < _CANDIDATES:
            f0[t] = frequencies[t, state]
        state = int(came_from[t, state])
    return f0
