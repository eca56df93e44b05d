"""The sound of a session: the samples that are still needed, and where in it somebody speaks."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from affetto.align import activity
from affetto.align.clock import RATE, frames_within, to_samples

_FRAME = RATE // activity.FRAME_RATE  # samples
_SPEECH = 0.5  # probability from which a frame is speech
_PAUSE = 0.2  # seconds without speech that end an utterance
_BREATH = 0.1  # seconds without speech in which a recording may be cut
_SHORTEST = 0.8  # seconds of an utterance at least, where its window has them


class Sound:
    """The samples that are still needed, and for all that came whether they are speech."""

    def __init__(self) -> None:
        self.count = 0
        self._first = 0  # the sample that the kept ones begin with
        self._kept = np.zeros(0, np.float32)
        self._activity = activity.ActivityStream()
        self._probability = array("f")
        self._done = False

    def feed(self, samples: NDArray[np.float32]) -> None:
        self._kept = np.concatenate([self._kept, samples])
        self.count += len(samples)
        self._probability.frombytes(self._activity.feed(np.clip(samples, -1, 1)).tobytes())

    def finish(self) -> None:
        self._probability.frombytes(self._activity.finish().tobytes())
        self._done = True

    def settled(self, end: int) -> bool:
        """Whether all samples before `end` have come, and whether they are speech is known."""
        return self.count >= end and (self._done or len(self._probability) >= self._frames(0, end)[1])

    def speech_seconds(self, start: int, end: int) -> float:
        """Seconds of speech between two samples."""
        return int(self._speech(start, end).sum()) / activity.FRAME_RATE

    def pause(self, start: int, end: int) -> int:
        """The middle of the longest pause between two samples; `end` where nobody pauses."""
        quiet = np.concatenate([[False], ~self._speech(start, end), [False]])
        pauses = np.flatnonzero(np.diff(quiet)).reshape(-1, 2)  # first frame, and the one after the last
        lengths = pauses[:, 1] - pauses[:, 0]
        if lengths.max(initial=0) < _BREATH * activity.FRAME_RATE:
            return end
        middle = int(pauses[lengths.argmax()].sum()) // 2
        return (self._frames(start, end)[0] + middle) * _FRAME + to_samples(activity.FIRST_FRAME)

    def speech_share(self, start: int, end: int) -> float:
        """The share of the frames between two samples that is speech."""
        frames = self._speech(start, end)
        return float(frames.mean()) if len(frames) else 0.0

    def spoken(self, start: int, end: int, margin: float | None) -> tuple[int, int]:
        """A stretch [start, end) without what is no speech at its ends, but for `margin` seconds."""
        first, last = self._frames(start, end)
        probability = np.array(self._probability[first:last], np.float32)
        left, right = activity.trimmed(probability, end - start, margin, _SPEECH)
        return start + left, start + right

    def utterance(self, step: tuple[int, int], window: tuple[int, int], edge: float) -> tuple[int, int]:
        """The part of a window that is spoken in one breath with its step, and `edge` seconds on either side,
        in samples."""
        first, last = self._frames(*step)
        speech = self._speech(*window)
        offset = self._frames(*window)[0]
        inside = np.flatnonzero(speech[first - offset : last - offset]) + first - offset
        start = inside[0] - _reach(speech[: inside[0]][::-1]) + offset
        end = inside[-1] + 1 + _reach(speech[inside[-1] + 1 :]) + offset
        start, end = start * _FRAME - to_samples(edge), end * _FRAME + to_samples(edge)
        more = max(to_samples(_SHORTEST) - (end - start), 0) // 2
        return max(int(start) - more, window[0]), min(int(end) + more, window[1])

    def probability(self) -> NDArray[np.float32]:
        """[T]: of every frame, that it is speech."""
        return np.array(self._probability, np.float32)

    def cut(self, start: int, end: int) -> NDArray[np.float32]:
        """Samples [start, end)."""
        return self._kept[start - self._first : end - self._first]

    def forget(self, before: int) -> None:
        """Let go of the samples before this one."""
        if before > self._first:
            self._kept = self._kept[before - self._first :]
            self._first = before

    def _speech(self, start: int, end: int) -> NDArray[np.bool_]:
        first, last = self._frames(start, end)
        return np.array(self._probability[first:last], np.float32) > _SPEECH

    def _frames(self, start: int, end: int) -> tuple[int, int]:
        """The frames whose centres lie between two samples."""
        first, last = frames_within(np.array([[start, end]]), activity.FRAME_RATE, activity.FIRST_FRAME)[0]
        return int(first), int(last)


def _reach(speech: NDArray[np.bool_]) -> int:
    """How many of these frames [T] come before the first pause; what is silent at their end does not count."""
    spoken = np.flatnonzero(speech)
    pauses = np.flatnonzero(np.diff(spoken, prepend=-1) > _PAUSE * activity.FRAME_RATE)
    if len(pauses):
        spoken = spoken[: pauses[0]]
    return int(spoken[-1]) + 1 if len(spoken) else 0
