"""The grid of the timeline: steps of half a second, the windows they are judged by, and what lies in them.

```
samples   0       8000     16000    24000    32000          hop 0.5 s, window 1.5 s
steps     |   0    |   1    |   2    |   3    |             step k is [k hop, (k + 1) hop)
windows   [--------0--------]                               window k has step k in its middle
          [-------------1------------]                      and is cut at the ends of the recording
                   [-------------2------------]
```

All edges are whole samples at 16 kHz and all comparisons are made between whole numbers or fractions, so that
the last step of ten hours is as exact as the first. A frame belongs to the step or window that holds its
centre, a word to the one that holds its middle: each to exactly one step, none to two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from affetto.errors import ConfigError
from affetto.records import Word

RATE = 16_000  # samples per second, of everything that is heard
HOP = 0.5  # seconds, a step of the timeline

Spans = NDArray[np.int64]  # [S 2]: where each of S stretches starts and ends (the end is not part of it)

# A rate like 31.25 or a centre like 0.0125 s is meant as a fraction; its float is off by less than 1e-16.
_LARGEST_DENOMINATOR = 1_000_000
_SAMPLE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps of `hop` seconds, each judged by the `window` seconds around it. Both are whole samples.

    Raises ConfigError `config_invalid` for a hop or window that is not a whole number of samples, for a
    window shorter than the hop, and where the step cannot stand in the middle of its window.
    """

    hop: float
    window: float

    def __post_init__(self) -> None:
        hop, window = _whole_samples("hop", self.hop), _whole_samples("window", self.window)
        if window < hop or (window - hop) % 2:
            raise ConfigError(
                "config_invalid",
                f"window {self.window:g} s around a hop of {self.hop:g} s: expected at least the hop, "
                "and an even number of samples more",
            )

    @property
    def hop_samples(self) -> int:
        return _whole_samples("hop", self.hop)

    @property
    def window_samples(self) -> int:
        return _whole_samples("window", self.window)

    @property
    def margin(self) -> int:
        """How far a window reaches beyond its step on either side, in samples."""
        return (self.window_samples - self.hop_samples) // 2

    def steps(self, samples: int) -> int:
        """How many steps a recording of `samples` has; a last one that is not full counts."""
        return -(-samples // self.hop_samples)

    def segments(self, samples: int, *, first: int = 0) -> Spans:
        """[S 2] samples: the steps of a recording from step `first` on, the last cut at its end."""
        return self._around(samples, first, 0)

    def windows(self, samples: int, *, first: int = 0) -> Spans:
        """[S 2] samples: the window of each step from step `first` on, cut at both ends of the recording."""
        return self._around(samples, first, self.margin)

    def closes(self, step: int) -> int:
        """The number of samples after which the window of `step` is complete, in a stream that goes on."""
        return (step + 1) * self.hop_samples + self.margin

    def closed(self, samples: int) -> int:
        """How many steps have complete windows once `samples` of a stream have come; `finish` adds the rest."""
        return max((samples - self.margin) // self.hop_samples, 0)

    def step_of(self, seconds: float) -> int:
        """The step that holds this time."""
        return to_samples(seconds) // self.hop_samples

    def _around(self, samples: int, first: int, margin: int) -> Spans:
        starts = np.arange(first, self.steps(samples), dtype=np.int64) * self.hop_samples
        edges = np.stack([starts - margin, starts + self.hop_samples + margin], axis=1)
        return np.clip(edges, 0, samples)


def to_samples(seconds: float) -> int:
    """The sample nearest to a time."""
    return round(Fraction(seconds) * RATE)


def to_seconds(samples: int) -> float:
    """The time of a sample: the float nearest to it."""
    return samples / RATE


def frame_times(count: int, rate: float | Fraction, first: float | Fraction) -> NDArray[np.float64]:
    """Centres in seconds of `count` frames that come `rate` times a second, the first at `first`: [T]."""
    start, step = _fraction(first), 1 / _fraction(rate)
    denominator = math.lcm(start.denominator, step.denominator)
    ticks = np.arange(count, dtype=np.int64) * int(step * denominator) + int(start * denominator)
    return ticks / denominator


def frames_within(
    spans: Spans, rate: float | Fraction, first: float | Fraction, count: int | None = None
) -> Spans:
    """Which frames have their centres in each span of samples: [S 2] -> [S 2] frame numbers, end excluded.

    `rate` (frames a second) and `first` (centre of frame 0, in seconds) are what an encoder states of itself;
    floats stand for the simple fraction that they are nearest to, and 29.97 pictures a second are
    Fraction(30000, 1001). With `count` frames there are none beyond it.
    """
    up, shift, denominator = _frame_rule(rate, first)
    # Python's whole numbers do not overflow, whatever the fractions.
    edges = [max(-(-(int(edge) * up - shift) // denominator), 0) for edge in np.ravel(spans)]
    frames = np.array(edges, dtype=np.int64).reshape(-1, 2)
    return frames if count is None else np.minimum(frames, count)


def times_within(spans: Spans, times: Sequence[float] | NDArray[np.floating]) -> Spans:
    """Which of some times, in ascending order, lie in each span of samples: [S 2] -> [S 2], end excluded.

    For pictures of a video whose rate varies.
    """
    ticks = np.rint(np.asarray(times, dtype=np.float64) * RATE)
    return np.searchsorted(ticks, spans).astype(np.int64).reshape(-1, 2)


def words_within(spans: Spans, words: Sequence[Word]) -> list[tuple[Word, ...]]:
    """The words whose middle lies in each span of samples, in the order of their middles."""
    ordered = sorted(words, key=_twice_the_middle)
    middles = np.array([_twice_the_middle(word) for word in ordered], dtype=np.int64)
    bounds = np.searchsorted(middles, 2 * spans)
    return [tuple(ordered[start:end]) for start, end in bounds]


def pool(
    values: NDArray[np.floating], mask: NDArray[np.bool_], frames: Spans
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Mean of the real frames of each stretch: [T D], [T], [S 2] -> (means [S D], whether there are any [S]).

    Each mean depends on its own frames alone, bit for bit: frames may come in pieces, as from a stream. A
    stretch without real frames has zeros.
    """
    weighted = np.where(mask[:, None], values, 0).astype(np.float64)
    # One row of zeros more, so that a stretch may end (or stand) at the end.
    padded = np.concatenate([weighted, np.zeros((1, weighted.shape[1]))])
    counted = np.concatenate([mask, [False]]).astype(np.int64)
    bounds = np.ravel(frames)
    filled = frames[:, 0] < frames[:, 1]
    if not len(frames):
        return np.zeros((0, weighted.shape[1]), np.float32), filled
    # reduceat answers for a stretch of no frames with its first one: those are zeroed.
    sums = np.add.reduceat(padded, bounds, axis=0)[::2] * filled[:, None]
    counts = np.add.reduceat(counted, bounds)[::2] * filled
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32), counts > 0


@lru_cache
def _frame_rule(rate: float | Fraction, first: float | Fraction) -> tuple[int, int, int]:
    """Whole numbers for which sample s stands at frame (s up - shift) / denominator."""
    speed = _fraction(rate) / RATE  # frames per sample
    lead = _fraction(first) * _fraction(rate)  # the first centre, in frames
    denominator = math.lcm(speed.denominator, lead.denominator)
    return int(speed * denominator), int(lead * denominator), denominator


def _twice_the_middle(word: Word) -> int:
    return to_samples(word.start) + to_samples(word.end)


def _whole_samples(name: str, seconds: float) -> int:
    samples = seconds * RATE
    if not (math.isfinite(samples) and samples >= 1 and abs(samples - round(samples)) < _SAMPLE_TOLERANCE):
        raise ConfigError(
            "config_invalid",
            f"{name} {seconds!r} s: expected a whole number of samples at 16 kHz, like 0.5 or 0.0125",
        )
    return round(samples)


def _fraction(value: float | Fraction) -> Fraction:
    return Fraction(value).limit_denominator(_LARGEST_DENOMINATOR)
