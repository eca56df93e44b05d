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
| GRID, 120 clips with marked words | 4.0 % | 2.4 % | start +8 ms, end +28 ms |
| EmoDB in noise at 40 dB, 20 dB | 4.1 %, 5.2 % | 0.0 %, 2.0 % | start -23, -28 ms, end +18, +10 ms |
| EmoDB in noise at 10 dB, 5 dB | 12 %, 28 % | 0.5 %, 0.3 % | start -13, +17 ms, end -66, -136 ms |

Speech was found in all of 360 clips of RAVDESS, nEMO and EmoDB, and in 105 of 120 digits of a third of a second
from the telephone band (fsdd). It was found in none of 400 clips of noise, wind, rain, room noise, steady tones,
dialled keys, sirens, engines and bells, and in 22 of 200 of beeps, birds, plucked strings, gliding tunes and a
band, for some tenths of a second in most: in 0.7 % of the time of all 600. Ten minutes take about a second of one
core.

It hears voices: shouts, laughter and singing are speech to it, whispers hardly. The answer for a frame depends
on `LOOK_BACK` seconds before it and `LOOK_AHEAD` after it and on nothing else, bit for bit, so `ActivityStream`
gives the answers of the whole recording for one that comes in chunks.
"""

from __future__ import annotations

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
_LEAD = (_FRAME - _SHORTEST) // 2  # samples that the first frame reaches back before the recording
_BLOCK = 128  # frames at once
# Samples that a stream works out at once: not fewer, since what lies near them is decided again each time.
_LEAST, _MOST = RATE + _FRAME, 10 * RATE
_FLOOR_BEFORE, _FLOOR_AFTER = 200, 50  # frames searched for the noise floor and for the loudest
_SMOOTH = 2  # frames on either side over which levels are averaged
_NEAR = 50  # frames on either side over which the cues of a voice are taken
# What a decision depends on, in frames: pitch has to go on for two before it is steady.
_FRAMES_BACK, _FRAMES_AHEAD = _FLOOR_BEFORE + _NEAR + _SMOOTH + 2, _FLOOR_AFTER + _NEAR + _SMOOTH
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
_VOICE = (19.42, -13.49, 4.80, 34.07)  # weights of the cues in their order
_BIAS = -22.22

_CLOSE = 0.2  # seconds of silence within a stretch: stops, and breaths between words
_DROP = 0.15  # seconds below which a stretch is no word
_MARGIN = 0.03  # seconds added on either side: the soft edges of words


def speech_probability(waveform: NDArray[np.floating]) -> NDArray[np.float32]:
    """How likely it is that each frame is speech: samples [N] at 16 kHz in [-1, 1] -> [T] on this clock.

    Frame t is centred on `FIRST_FRAME + t / FRAME_RATE` seconds. Less than 25 ms have no frames. Raises
    ValueError for what is no one-dimensional array of floats.
    """
    return _probability(cues(waveform))


class ActivityStream:
    """`speech_probability` of a recording that comes in chunks of any length.

    What `feed` and `finish` return, joined, is what `speech_probability` returns for all the samples, bit for
    bit, however they were cut. It is worked out a second at a time, so a frame is returned at the latest when
    `LOOK_AHEAD` and one second more have come after it. Five seconds are kept, however long the recording is.
    """

    def __init__(self) -> None:
        self._samples = [np.zeros(_LEAD, np.float32)]  # from the last frame worked out on
        self._held = _LEAD  # how many they are
        self._before = 0  # how many frames at their start are worked out already: one, but for the first
        self._local = np.zeros((4, 0))  # frames on which decisions still depend
        self._decided = 0  # how many of them are decided
        self._finished = False

    def feed(self, samples: NDArray[np.floating]) -> NDArray[np.float32]:
        """The next samples [n] -> the next frames [t] that nothing to come can change; often none.

        Raises ValueError for what is no one-dimensional array of floats, and after `finish`.
        """
        self._check_open()
        chunk = _checked(samples)
        found = []
        for start in range(0, len(chunk), _MOST):
            self._keep(chunk[start : start + _MOST])
            if self._held >= _LEAST:
                found.append(self._advance(_FRAMES_AHEAD))
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def finish(self) -> NDArray[np.float32]:
        """The frames left over [t], now that the recording has ended. Raises ValueError when called again."""
        self._check_open()
        self._finished = True
        self._keep(np.zeros(_LEAD, np.float32))
        return self._advance(0)

    def _keep(self, samples: NDArray[np.floating]) -> None:
        self._samples.append(samples.astype(np.float32))  # a copy: the caller may fill the same array again
        self._held += len(samples)

    def _advance(self, open_frames: int) -> NDArray[np.float32]:
        """Decide all frames but the last few, `open_frames`, and let go of what no other depends on."""
        samples = np.concatenate(self._samples)
        fresh = _local(samples, self._before)
        worked_out = self._before + fresh.shape[1]
        if worked_out:
            samples = samples[(worked_out - 1) * _HOP :]
            self._before = 1
        self._samples, self._held = [samples], len(samples)
        self._local = np.concatenate([self._local, fresh], axis=1)
        first, end = self._decided, max(self._local.shape[1] - open_frames, self._decided)
        probability = _probability(_cues(self._local))[first:end]
        past = max(end - _FRAMES_BACK, 0)
        self._local = self._local[:, past:]
        self._decided = end - past
        return probability

    def _check_open(self) -> None:
        if self._finished:
            raise ValueError("this recording is finished: make another ActivityStream for the next")


def speech_spans(
    probability: NDArray[np.floating], threshold: float = 0.5
) -> tuple[tuple[float, float], ...]:
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


def trimmed(
    probability: NDArray[np.floating], samples: int, margin: float | None, threshold: float = 0.5
) -> tuple[int, int]:
    """Where a recording of `samples` begins and ends, in samples, when no more than `margin` seconds of what is
    no speech are left on either side: from the probabilities of its frames [T].

    The whole recording when `margin` is None, or nobody speaks.
    """
    spoken = np.flatnonzero(probability > threshold)
    if margin is None or not len(spoken):
        return 0, samples
    rest = round(margin * RATE)
    return max(int(spoken[0]) * _HOP - rest, 0), min(int(spoken[-1]) * _HOP + _SHORTEST + rest, samples)


def cues(waveform: NDArray[np.floating]) -> Floats:
    """What the decision is made from: [N] -> [T 5]. The margin in dB by which a frame is a sound, and the
    harmonicity, steadiness, change and alternation of the sounds around it.

    Raises ValueError for what is no one-dimensional array of floats.
    """
    return _cues(_local(np.pad(_checked(waveform).astype(np.float32, copy=False), _LEAD)))


def _checked(samples: NDArray[np.floating]) -> NDArray[np.floating]:
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise ValueError(f"expected floats [N] at 16 kHz, got {samples.dtype} {list(samples.shape)}")
    return samples


def _probability(found: Floats) -> NDArray[np.float32]:
    sound = _logistic(_SLOPE * found[:, 0])
    # One cue after the other: the order in which a matrix product adds up depends on how many rows it has.
    evidence = np.full(len(found), _BIAS)
    for weight, cue in zip(_VOICE, found[:, 1:].T, strict=True):
        evidence += weight * cue
    return (sound * _logistic(evidence)).astype(np.float32)


def _cues(local: Floats) -> Floats:
    """As `cues`, from what each frame tells by itself: the four rows of `_local`."""
    own_level, harmonicity, pitch, change = local
    if not len(own_level):
        return np.zeros((0, 5))
    level = _smoothed(own_level)
    floor = np.maximum(_lowest(level), _SILENCE)
    margin = level - np.maximum(floor + _OVER_FLOOR, -_lowest(-level) - _UNDER_LOUDEST)
    sound = margin > 0
    steady, moves = _steadiness(pitch, sound & (harmonicity > _VOICED))
    voiced = harmonicity * sound
    of_sounds = _near(np.stack([sound, voiced, harmonicity * voiced, change * sound, steady, moves]))
    sounds = of_sounds[0] + _PRIOR
    mean, square, mean_change = of_sounds[1:4] / sounds
    steadiness = (of_sounds[4] + _STEADY_PRIOR * _PRIOR) / (of_sounds[5] + _PRIOR)
    spread = np.sqrt(np.maximum(square - np.square(mean), 0))
    return np.stack([np.clip(margin, -20, 20), mean, steadiness, mean_change, spread], axis=1)


def _smoothed(level: Floats) -> Floats:
    """The mean of each level and its neighbours; the first and the last stand for those beyond them."""
    wide = 2 * _SMOOTH + 1
    padded = np.concatenate([np.repeat(level[:1], _SMOOTH), level, np.repeat(level[-1:], _SMOOTH)])
    total = padded[: len(level)].copy()
    for shift in range(1, wide):
        total += padded[shift : shift + len(level)]
    return total / wide


def _steadiness(pitch: Floats, voiced: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether pitch went on as it went, and whether it could be told: three voiced frames in a row."""
    change, second = np.zeros(len(pitch)), np.zeros(len(pitch))
    change[1:] = pitch[1:] - pitch[:-1]
    second[1:] = change[1:] - change[:-1]
    triple = np.zeros(len(pitch), bool)
    pair = voiced[1:] & voiced[:-1] & (np.abs(change[1:]) < _JUMP)
    triple[2:] = pair[1:] & pair[:-1]
    return triple & (np.abs(second) < _SAME_CHANGE), triple


def _lowest(level: Floats) -> Floats:
    """The lowest level from `_FLOOR_BEFORE` frames before each to `_FLOOR_AFTER` after it."""
    wide = _FLOOR_BEFORE + _FLOOR_AFTER + 1
    lowest = np.full(len(level) + wide - 1, np.inf)
    lowest[_FLOOR_BEFORE : _FLOOR_BEFORE + len(level)] = level
    width = 1
    while 2 * width <= wide:  # the minimum of two neighbouring stretches is that of both
        lowest = np.minimum(lowest[:-width], lowest[width:])
        width *= 2
    return np.minimum(lowest[: len(level)], lowest[wide - width :])


def _near(values: Floats) -> Floats:
    """Sums over the frames within `_NEAR` of each: [K T] -> [K T]. In whole numbers, so that they do not depend
    on what was added up before: the sums of a part of a recording are those of the whole."""
    count = values.shape[1]
    totals = np.zeros((len(values), count + 1), np.int64)
    np.cumsum(np.rint(values * 2**20).astype(np.int64), axis=1, out=totals[:, 1:])
    frames = np.arange(count)
    upper, lower = np.minimum(frames + _NEAR + 1, count), np.maximum(frames - _NEAR, 0)
    return (totals[:, upper] - totals[:, lower]) / 2**20


def _logistic(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-values))


# --- each frame by itself -----------------------------------------------------------------------------------

_WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)).astype(np.float32)
_BINS = _FFT // 4 + 1  # up to 4000 Hz
_LOWEST_VOICE = 6  # bin of 94 Hz
# Below 47 Hz are hum and wind; above 1500 Hz birds and hisses, and no harmonic that a voice needs.
_HARMONICS = slice(3, 97)  # bins
_LAGS = np.arange(16, 135)  # at 8 kHz: 500 to 60 Hz
# The level of a full-scale sine: half the squared sum of the window, spread over what a bin holds.
_FULL_SCALE = _FFT / 4 * float(np.square(_WINDOW).sum())


def _band_edges() -> NDArray[np.intp]:
    """First bins of twenty bands, equally wide in mel from 80 to 3800 Hz, as far as a telephone hears; and the
    bin after the last."""
    low, high = 1127 * np.log1p(np.array([80, 3800]) / 700)
    hertz = 700 * np.expm1(np.linspace(low, high, 21) / 1127)
    return np.rint(hertz * _FFT / RATE).astype(np.intp)


def _unbiased() -> NDArray[np.float32]:
    """What undoes the fall of the window's own autocorrelation, at every lag of `_LAGS` and one on either side."""
    power = np.square(np.abs(np.fft.rfft(_WINDOW, _FFT)))
    correlation = np.fft.irfft(power)[: 2 * _LAGS[-1] + 3 : 2]
    return (correlation[0] / correlation)[_LAGS[0] - 1 :].astype(np.float32)


_BAND_EDGES = _band_edges()
_UNBIASED = _unbiased()
# Of a peak an octave higher, as in Boersma's tracker.
_ADVANTAGE = (0.01 * np.log2(_LAGS)).astype(np.float32)


def _local(samples: NDArray[np.float32], before: int = 0) -> Floats:
    """What the frames of some samples tell, each by itself, without the `before` first: [4 T].

    The rows are level (80 to 4000 Hz, dB of full scale), harmonicity (0 to 1), pitch (semitones), and change
    (mean difference of the log bands to the frame before, nepers; 0 for one that has none before it).
    """
    count = max((len(samples) - _FRAME) // _HOP + 1, 0)
    found = np.zeros((4, max(count - before, 0)))
    if found.shape[1]:
        frames = sliding_window_view(samples, _FRAME)[::_HOP]
        # The frame before a block is worked out twice, for the change to the block's first.
        for start, end in pairwise([*range(before, count, _BLOCK), count]):
            first = max(start - 1, 0)
            found[:, start - before : end - before] = _block(frames[first:end])[:, start - first :]
    return found


def _block(frames: NDArray[np.float32]) -> Floats:
    """The four values of each frame: [n, _FRAME] -> [4 n]; the change of the first is 0.

    Every step treats a row by itself, without matrix products, so that a frame has the same values in any block.
    """
    padded = np.zeros((len(frames), _FFT), np.float32)
    np.subtract(frames, frames.mean(axis=1, keepdims=True), out=padded[:, :_FRAME])
    padded[:, :_FRAME] *= _WINDOW
    spectrum = np.fft.rfft(padded, axis=1)[:, :_BINS]
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    total = power[:, _LOWEST_VOICE:].astype(np.float64).sum(axis=1)
    # reduceat also sums from the last edge to the end: that is no band.
    bands = np.log(np.add.reduceat(power, _BAND_EDGES, axis=1)[:, :-1] + np.float32(1e-9))
    change = np.minimum(np.abs(np.diff(bands, axis=0, prepend=bands[:1])), 3.0).mean(axis=1)
    harmonicity, pitch = _harmonicity(power)
    level = 10 * np.log10(total / _FULL_SCALE + 1e-12)
    return np.stack([level, harmonicity, pitch, np.minimum(change, _MOST_CHANGE)])


def _harmonicity(power: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Height of the best peak of the autocorrelation below 1.5 kHz, and its pitch in semitones: [n], [n]."""
    low = np.zeros(power.shape, np.complex64)
    low.real[:, _HARMONICS] = power[:, _HARMONICS]
    correlation = np.fft.irfft(low, axis=1)
    likeness = correlation[:, _LAGS[0] - 1 : _LAGS[-1] + 2] * _UNBIASED
    likeness /= np.maximum(correlation[:, :1], np.float32(1e-20))
    middle = likeness[:, 1:-1]
    peak = (middle >= likeness[:, :-2]) & (middle > likeness[:, 2:]) & (middle > 0)
    best = np.where(peak, middle - _ADVANTAGE, -np.inf).argmax(axis=1)
    rows = np.arange(len(best))
    found = peak[rows, best]
    left, height, right = (likeness[rows, best + shift].astype(np.float64) for shift in (0, 1, 2))
    # The vertex of the parabola through a peak and its neighbours.
    offset = np.where(found, 0.5 * (right - left), 0.0) / np.where(found, 2 * height - left - right, 1.0)
    pitch = 12 * np.log2(RATE / 2 / (_LAGS[best] + offset))
    return np.where(found, np.minimum(height, 1.0), 0.0), pitch
