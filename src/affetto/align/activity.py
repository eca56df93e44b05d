"""Where somebody speaks: a probability for every 10 ms, and the stretches of time that these make.

Two questions are asked of every frame, and their answers multiplied.

*Is there a sound?* How far its level (80 to 4000 Hz, 50 ms) stands above what it must reach: 4 dB over the noise
floor, the lowest level from 2 s before to 0.5 s after (minimum statistics, Martin 2001), and 40 dB under the
loudest in that time, beyond which speech has nothing to say (the 30 dB of ANSI S3.5, and 10 for shouts).

*Is it a voice?* Four cues, over the sounds within half a second of the frame:

- harmonicity, the highest peak of the normalised autocorrelation from 60 to 500 Hz (Boersma 1993): noise, clicks
  and drums have little;
- steadiness, how often pitch goes on as it went, its change within 0.05 semitones of the change before: that is
  what tones, chords, sirens and vibrato do, and a larynx does not;
- change, how much the spectrum differs from one frame to the next: speech has ten sounds a second;
- alternation, how much harmonicity varies: speech has vowels and hisses in turn.

Both are logistic functions, fitted by `benchmarks/activity.py --fit` on acted German, English and Polish speech
with noise of 5 to 30 dB and on synthetic sounds. The same file measures them on other people and other sounds:

| | speech missed | silence taken for speech | median edges |
|---|---|---|---|
| GRID, 120 clips with marked words | 4.0 % | 2.5 % | start +7 ms, end +28 ms |
| EmoDB in noise at 40 dB, 20 dB | 4.1 %, 5.3 % | 0.0 %, 1.9 % | start -23 ms, -28 ms, end +18 ms, +10 ms |
| EmoDB in noise at 10 dB, 5 dB | 12 %, 28 % | 0.5 %, 0.3 % | start -13 ms, +18 ms, end -66 ms, -136 ms |

Speech was found in all of 360 clips of RAVDESS, nEMO and EmoDB, and in 102 of 120 digits of a third of a second
from the telephone band (fsdd). It was found in none of 240 clips of noise, wind, room noise, steady tones, dialled
keys and sirens, and in 21 of 360 of beeps, rain, engines, birds, bells, plucked strings, gliding tunes and a band,
most of them for some tenths of a second: 0.6 % of the time of all 600.

It hears voices: shouts, laughter and singing are speech to it, whispers hardly. The answer for a frame depends
on `LOOK_BACK` seconds before it and `LOOK_AHEAD` after it and on nothing else, bit for bit: a stream that keeps
so much gets the answers of the whole recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from affetto.align.clock import RATE

FRAME_RATE = 100  # frames per second: one every 160 samples
FIRST_FRAME = 0.0125  # seconds, the centre of the first: the clock of `affetto.features.spectral`
LOOK_BACK = 2.75  # seconds that a frame depends on before its centre
LOOK_AHEAD = 1.1  # and after it

Floats = NDArray[np.float64]

_HOP = RATE // FRAME_RATE
_SHORTEST = 400  # samples: with fewer there is no frame
_FRAME = 512  # samples, 32 ms around the centre: two periods of 62 Hz
_FFT = 1024  # room for the longest lag, so that the circular correlation is a plain one
_BLOCK = 200  # frames at once
_FLOOR_BEFORE, _FLOOR_AFTER = 200, 50  # frames searched for the noise floor and for the loudest
_NEAR = 50  # frames on either side over which the cues of a voice are taken
_PRIOR = 3  # frames of no evidence, so that one click is not judged like a second of speech

_STEADY_PRIOR = 0.2  # steadiness where nothing is known of it

_OVER_FLOOR = 4.0  # dB
_UNDER_LOUDEST = 40.0  # dB
_SILENCE = -75.0  # dB of full scale: below it nothing is heard, whatever the floor
_VOICED = 0.5  # harmonicity of a frame whose pitch counts
_JUMP = 2.0  # semitones in 10 ms: another voice, or an error of an octave
_SAME_CHANGE = 0.05  # semitones
_MOST_CHANGE = 1.5  # nepers between frames: a click must not outweigh a second of speech

_SLOPE = 0.424  # per dB
_VOICE = (19.78, -13.43, 5.28, 33.46)  # weights of the cues in their order
_BIAS = -22.35

_CLOSE = 0.2  # seconds of silence within a stretch: stops, and breaths between words
_DROP = 0.15  # seconds below which a stretch is no word
_MARGIN = 0.03  # seconds added on either side: the soft edges of words


@dataclass(frozen=True, slots=True)
class _Local:
    """What each frame tells by itself: [T] each."""

    level: Floats  # dB of full scale, 80 to 4000 Hz
    harmonicity: Floats  # 0 to 1
    pitch: Floats  # semitones
    change: Floats  # mean difference of the log bands to the frame before, nepers


def speech_probability(waveform: NDArray[np.floating]) -> NDArray[np.float32]:
    """How likely it is that each frame is speech: samples [N] at 16 kHz in [-1, 1] -> [T] on this clock.

    Frame t is centred on `FIRST_FRAME + t / FRAME_RATE` seconds. Less than 25 ms have no frames.
    """
    found = cues(waveform)
    return (_logistic(_SLOPE * found[:, 0]) * _logistic(found[:, 1:] @ np.array(_VOICE) + _BIAS)).astype(
        np.float32
    )


def speech_spans(probability: NDArray[np.floating], threshold: float = 0.5) -> tuple[tuple[float, float], ...]:
    """Where there is speech, as (start, end) in seconds, from the probabilities of frames [T].

    Frames that reach the threshold; silences shorter than 0.2 s within are closed, stretches shorter than
    0.15 s dropped, and 0.03 s added on either side.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], probability >= threshold, [False]])))
    runs = [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
    spans: list[tuple[int, int]] = []
    for start, end in runs:
        if spans and start - spans[-1][1] < _CLOSE * FRAME_RATE:
            start = spans.pop()[0]
        spans.append((start, end))
    half = 0.5 / FRAME_RATE
    first, last = FIRST_FRAME - half - _MARGIN, FIRST_FRAME - half + _MARGIN
    longest = len(probability) / FRAME_RATE + 2 * (FIRST_FRAME - half)
    return tuple(
        (max(start / FRAME_RATE + first, 0.0), min(end / FRAME_RATE + last, longest))
        for start, end in spans
        if end - start >= _DROP * FRAME_RATE
    )


def cues(waveform: NDArray[np.floating]) -> Floats:
    """What the decision is made from: [N] -> [T 5]. The margin in dB by which a frame is a sound, and the
    harmonicity, steadiness, change and alternation of the sounds around it.

    Raises ValueError for what is no one-dimensional array of floats.
    """
    samples = np.asarray(waveform)
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise ValueError(f"expected floats [N] at 16 kHz, got {samples.dtype} {list(samples.shape)}")
    local = _local(samples)
    if not len(local.level):
        return np.zeros((0, 5))
    level = sliding_window_view(np.pad(local.level, 2, mode="edge"), 5).mean(axis=1)
    floor = np.maximum(_lowest(level), _SILENCE)
    margin = level - np.maximum(floor + _OVER_FLOOR, -_lowest(-level) - _UNDER_LOUDEST)
    sound = margin > 0
    sounds = _near(sound) + _PRIOR
    steady, moves = _steadiness(local.pitch, sound & (local.harmonicity > _VOICED))
    harmonicity = _near(local.harmonicity * sound) / sounds
    variance = _near(np.square(local.harmonicity) * sound) / sounds - np.square(harmonicity)
    return np.stack(
        [
            np.clip(margin, -20, 20),
            harmonicity,
            (_near(steady) + _STEADY_PRIOR * _PRIOR) / (_near(moves) + _PRIOR),
            _near(local.change * sound) / sounds,
            np.sqrt(np.maximum(variance, 0)),
        ],
        axis=1,
    )


def _steadiness(pitch: Floats, voiced: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether pitch went on as it went, and whether it could be told: three voiced frames in a row."""
    change = np.diff(pitch, prepend=pitch[0])
    pair = voiced & _before(voiced) & (np.abs(change) < _JUMP)
    triple = pair & _before(pair)
    return triple & (np.abs(np.diff(change, prepend=0.0)) < _SAME_CHANGE), triple


def _before(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.concatenate([[False], flags[:-1]])


def _lowest(level: Floats) -> Floats:
    padded = np.pad(level, (_FLOOR_BEFORE, _FLOOR_AFTER), constant_values=np.inf)
    return sliding_window_view(padded, _FLOOR_BEFORE + _FLOOR_AFTER + 1).min(axis=1)


def _near(values: NDArray[np.generic]) -> Floats:
    """Sum over the frames within `_NEAR` of each. In whole numbers, so that it does not depend on what was
    added up before: the sums of a part of a recording are those of the whole."""
    whole = np.rint(np.asarray(values, np.float64) * 2**20).astype(np.int64)
    totals = np.concatenate([[0], np.cumsum(whole)])
    frames = np.arange(len(whole))
    upper, lower = np.minimum(frames + _NEAR + 1, len(whole)), np.maximum(frames - _NEAR, 0)
    return (totals[upper] - totals[lower]) / 2**20


def _logistic(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-values))


# --- each frame by itself -----------------------------------------------------------------------------------

_WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)).astype(np.float32)
_HZ = np.arange(_FFT // 2 + 1) * (RATE / _FFT)
_VOICE_BAND = slice(6, 257)  # bins of 80 to 4000 Hz
_HIGHEST_HARMONIC = 97  # bin of 1516 Hz
_LAGS = np.arange(16, 135)  # at 8 kHz: 500 to 60 Hz
# The level of a full-scale sine: half the squared sum of the window, spread over what a bin holds.
_FULL_SCALE = _FFT / 4 * float(np.square(_WINDOW).sum())
_OCTAVE = 0.01  # advantage of a peak an octave higher, as in Boersma's tracker


def _bands() -> NDArray[np.float32]:
    """Twenty triangular filters, equally wide in mel from 80 to 3800 Hz, as far as a telephone hears: [bins, 20]."""
    low, high = 1127 * np.log1p(np.array([80, 3800]) / 700)
    edges = 700 * np.expm1(np.linspace(low, high, 22) / 1127)
    ramps = (_HZ[:, None] - edges) / np.concatenate([np.diff(edges), [1]])
    falls = (edges[2:] - _HZ[:, None]) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(ramps[:, :-2], falls)).astype(np.float32)


def _window_correlation() -> NDArray[np.float32]:
    """Autocorrelation of the window at every lag of `_LAGS` and one beyond on either side."""
    power = np.square(np.abs(np.fft.rfft(_WINDOW, _FFT)))
    correlation = np.fft.irfft(power)[: 2 * _LAGS[-1] + 3 : 2]
    return (correlation / correlation[0])[_LAGS[0] - 1 :].astype(np.float32)


_BANDS = _bands()
_OWN_CORRELATION = _window_correlation()


def _local(samples: NDArray[np.floating]) -> _Local:
    count = max((len(samples) - _SHORTEST) // _HOP + 1, 0)
    padded = np.pad(samples.astype(np.float32, copy=False), (_FRAME - _SHORTEST) // 2)
    frames = sliding_window_view(padded, _FRAME)[::_HOP][:count] if count else np.zeros((0, _FRAME))
    columns = np.zeros((4, count))
    # The frame before a block is computed twice, for the change to the block's first.
    for start, end in pairwise([*range(0, count, _BLOCK), count]):
        first = max(start - 1, 0)
        columns[:, start:end] = _block(frames[first:end])[:, start - first :]
    return _Local(*columns)


def _block(frames: NDArray[np.floating]) -> Floats:
    """The four values of each frame: [n, _FRAME] -> [4 n]; the change of the first is 0."""
    centred = frames - frames.mean(axis=1, keepdims=True)
    power = np.square(np.abs(np.fft.rfft(centred * _WINDOW, _FFT, axis=1)))
    total = power[:, _VOICE_BAND].sum(axis=1, dtype=np.float64)
    bands = np.log(power @ _BANDS + np.float32(1e-9))
    change = np.minimum(np.abs(np.diff(bands, axis=0, prepend=bands[:1])), 3.0).mean(axis=1)
    harmonicity, pitch = _harmonicity(power)
    level = 10 * np.log10(total / _FULL_SCALE + 1e-12)
    return np.stack([level, harmonicity, pitch, np.minimum(change, _MOST_CHANGE)])


def _harmonicity(power: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Height of the best peak of the autocorrelation below 1.5 kHz, and its pitch in semitones: [n], [n]."""
    low = power[:, : _FFT // 4 + 1].copy()
    # Below 47 Hz are hum and wind; above 1500 Hz birds and hisses, and no harmonic that a voice needs.
    low[:, :3] = low[:, _HIGHEST_HARMONIC:] = 0
    correlation = np.fft.irfft(low, axis=1)
    lags = slice(_LAGS[0] - 1, _LAGS[-1] + 2)
    likeness = correlation[:, lags] / np.maximum(correlation[:, :1], np.float32(1e-20)) / _OWN_CORRELATION
    middle = likeness[:, 1:-1]
    peak = (middle >= likeness[:, :-2]) & (middle > likeness[:, 2:]) & (middle > 0)
    best = np.where(peak, middle - _OCTAVE * np.log2(_LAGS), -np.inf).argmax(axis=1)
    rows = np.arange(len(best))
    found = peak[rows, best]
    left, height, right = (likeness[rows, best + shift].astype(np.float64) for shift in (0, 1, 2))
    # The vertex of the parabola through a peak and its neighbours.
    offset = np.where(found, 0.5 * (right - left), 0.0) / np.where(found, 2 * height - left - right, 1.0)
    pitch = 12 * np.log2(RATE / 2 / (_LAGS[best] + offset))
    return np.where(found, np.minimum(height, 1.0), 0.0), pitch
