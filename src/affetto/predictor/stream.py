"""A recording that comes in pieces: windows answered as they close, a timeline as its steps do.

Everything that is answered goes through a `Session`, whole files too: a stream and a batch are equal because
they are one thing. What it computes depends on samples and words alone, never on how they were cut into
chunks.

*The answer* is that of the bundle's window where the recording fits into one; a longer one is cut at its pauses
into windows of two to four seconds, which mostly hold one mood as the training clips do, and answered by their mean
log-probability weighted by the seconds that are speech. (Normalised, that is the softmax of the mean logits, so
logits are what is averaged.)

*The timeline* has a step every `HOP` seconds, judged by the `timeline_seconds` around it, of its speech by
what lies between the nearest pauses: a mood changes where a breath is drawn. A step in which nobody speaks, no
word falls and no face is seen is "no speech". Its window closes when the sound after it has come and speech in
it is settled: some two seconds later, half a second more for the first step of a pair, which is answered with the
second. What of a pair is spoken in one breath is heard once. Spans need the future, and come with `finish`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affetto.align import activity
from affetto.align.clock import HOP, RATE, Grid, times_within, to_samples, to_seconds
from affetto.align.spread import spread_words
from affetto.errors import DataError, MediaError
from affetto.predictor.answers import Answers
from affetto.predictor.evidence import Evidence, middle
from affetto.predictor.inputs import checked_samples
from affetto.predictor.parts import Outputs, Parts
from affetto.predictor.sound import Sound
from affetto.predictor.voice import is_voice
from affetto.records import MODALITIES, Prediction, Segment, Track, Word
from affetto.timeline.spans import merge
from affetto.timeline.steps import LOW_CONFIDENCE, NO_SPEECH, Steps

#: Seconds of speech below which a recording, or a window of the timeline, holds none.
LEAST_SPEECH = 0.15
#: Seconds of a window at most, where the recording is longer than the bundle's; it is cut in the second half of them.
_LONGEST_WINDOW = 4.0
#: A step is spoken when at least this share of it is.
_LEAST_SHARE = 0.1
_EDGE = 0.03  # seconds kept on either side of an utterance, where the part does not say: soft edges of words
_TOGETHER = 2  # steps that are heard together: their stretches overlap, and hearing is what costs
_SIDE_BY_SIDE = 2  # of these pairs judged at once, when several have closed

Faces = Sequence[tuple[float, np.ndarray]]
_Stretch = tuple[int, int]  # of sound, [start, end) in samples


class Session:
    """One recording, or what comes from one microphone. Made by `Predictor.stream`; not shared by threads."""

    def __init__(
        self,
        parts: Parts,
        answers: Answers,
        evidence: Evidence,
        *,
        timeline: bool,
        text: str | None = None,
        warnings: Sequence[str] = (),
        file: str | None = None,
    ) -> None:
        self._parts, self._answers, self._evidence = parts, answers, evidence
        self._text, self._warnings, self._file = text, list(warnings), file
        self._part = parts.bundle.info.parts.speech
        self._sound = Sound()
        self._grid = Grid(HOP, self._part.timeline_seconds if self._part else HOP)
        self._timeline = timeline and bool(answers.labels)
        self._steps = Steps(answers.labels, answers.views, HOP)
        self._margin = self._part.margin_seconds if self._part else None
        self._whole = int(self._part.window_seconds * RATE) if self._part else 0
        self._window = min(to_samples(_LONGEST_WINDOW), self._whole)
        self._windows = _Mean()
        self._answered = 0  # samples that lie in windows
        self._used: set[str] = set()
        self._finished = False
        self._threads: ThreadPoolExecutor | None = None
        self._elapsed = 0.0

    def feed(
        self, samples: NDArray[np.floating], words: Sequence[Word] = (), faces: Faces = ()
    ) -> tuple[Segment, ...]:
        """Take samples [n] at 16 kHz that follow those before, and the words and faces known by now.

        Returns the steps of the timeline whose windows have closed. A word that comes when its step has been
        answered is shown there in the end, but was no evidence: the answer then has the warning `words_late`.
        faces are (seconds, crop [3 S S] in [0, 1]). Raises MediaError `audio_corrupt`, `audio_not_finite`, and
        DataError `nothing_to_predict` after `finish`.
        """
        began = perf_counter()
        self._check_open()
        checked = checked_samples(np.asarray(samples))
        self._take(words, faces)
        if self._part is not None and len(checked):
            self._sound.feed(checked)
        self._close_windows()
        closed = self._close_steps() if self._timeline else ()
        self._forget()
        self._elapsed += perf_counter() - began
        return closed

    def finish(self) -> Prediction:
        """The answer to everything that came, with all steps and their spans.

        Raises MediaError `audio_too_short`, DataError `nothing_to_predict` when nothing came, or twice.
        """
        began = perf_counter()
        self._check_open()
        self._finished = True
        self._check_length()
        self._sound.finish()
        if self._sound.count and self._evidence.end_at(self._sound.count):
            self._warnings.append("words_after_end")
        self._close_windows()
        in_one_window = self._answered == 0
        outputs, refused = self._answer()
        if self._timeline:
            if in_one_window and self._spread_text():
                # Everything is still there: all steps are judged again, with words that now have a place.
                self._steps = Steps(self._steps.labels, self._steps.views, HOP)
            self._finish_steps()
            self._spread_text()
            self._steps.words = self._evidence.said(self._grid.hop_samples)
        if self._threads is not None:
            self._threads.shutdown()
        self._elapsed += perf_counter() - began
        return self._prediction(outputs, refused)

    # --- the answer ---

    def _close_windows(self) -> None:
        """Answer every window that can no longer be the last one."""
        while self._part is not None:
            start, last = self._answered, self._answered + self._window
            # While more may come, no window closes before words have had the time to be recognised.
            wanted = self._window if start and self._finished else self._whole
            # A remainder shorter than the model needs joins the window before it.
            enough = start + wanted + int(self._part.min_seconds * RATE)
            if self._sound.count < enough or not self._sound.settled(last):
                return
            end = self._sound.pause(last - self._window // 2, last)
            self._answer_window(start, end, self._evidence.window(start, end))

    def _answer_window(self, start: int, end: int, beside: dict[str, Track]) -> None:
        self._answered = end
        seconds = self._sound.speech_seconds(start, end)
        speech = None
        if seconds >= LEAST_SPEECH:
            speech = self._voice(self._speech(*self._sound.spoken(start, end, self._margin)))
        if speech is not None:
            tracks = {**beside, "speech": speech}
            self._used |= {*tracks}
            self._windows.add(self._parts.fuse(tracks), seconds)

    def _answer(self) -> tuple[Outputs, str | None]:
        """What the whole recording says, and a reason not to answer, if any."""
        start = self._answered
        if self._part is not None and self._sound.count:
            alone = start == 0
            beside = self._evidence.whole() if alone else self._evidence.window(start, self._sound.count)
            self._answer_window(start, self._sound.count, beside)
        if self._windows.weight:
            return self._windows.mean(), None
        tracks = self._evidence.whole()
        refused = None
        if self._sound.count:
            if tracks:
                self._warnings.append(NO_SPEECH)
            else:
                refused = NO_SPEECH
                tracks = {"speech": self._speech(start, self._sound.count)}
        elif not tracks:
            refused = "language_not_supported"
            tracks = self._evidence.unread
        if not tracks:
            raise DataError(
                "nothing_to_predict",
                f"{self._file or 'nothing came'}: no sound, no words and no face in it to judge; give another",
            )
        self._used = {*tracks}
        return self._parts.fuse(tracks), refused

    def _speech(self, start: int, end: int) -> Track:
        return self._parts.speech(self._sound.cut(start, end), to_seconds(start))

    def _voice(self, track: Track) -> Track | None:
        """What the speech part heard; None when that is no voice."""
        known = self._part.voice if self._part else None
        return track if known is None or is_voice(known, track.values[0]) else None

    def _prediction(self, outputs: Outputs, refused: str | None) -> Prediction:
        info = self._parts.bundle.info
        used = [name for name in MODALITIES if name in self._used]
        if self._evidence.unread:
            self._warnings.append("language_not_supported")
        if not self._answers.calibrated(used):
            self._warnings.append("not_calibrated")
        return Prediction(
            **self._answers.emotion(outputs, used, refused),
            missing=tuple(name for name in info.parts.modalities() if name not in used),
            file=self._file,
            duration=to_seconds(self._sound.count) if self._sound.count else None,
            segments=self._steps if self._timeline else (),
            spans=merge(self._steps),
            words=self._evidence.words,
            tasks=self._answers.tasks(outputs, used),
            warnings=tuple(self._warnings),
            model=self._parts.model,
            elapsed=self._elapsed,
        )

    # --- the timeline ---

    def _close_steps(self) -> tuple[Segment, ...]:
        first = last = len(self._steps)
        while self._sound.settled(self._grid.closes(last + _TOGETHER - 1)):
            last += _TOGETHER
        self._answer_steps(range(first, last), self._sound.count, heard=True)
        return tuple(replace(segment, words=self._said(segment)) for segment in self._steps[first:])

    def _finish_steps(self) -> None:
        heard = self._sound.count > 0
        length = self._sound.count or self._evidence.end
        self._answer_steps(range(len(self._steps), self._grid.steps(length)), length, heard)

    def _answer_steps(self, numbers: Sequence[int], length: int, heard: bool) -> None:
        """Append steps to the timeline. Each pair is judged alone, so they may be judged side by side."""
        asked = [self._asked(number, length, heard) for number in numbers]
        pairs = [asked[i : i + _TOGETHER] for i in range(0, len(asked), _TOGETHER)]
        if len(pairs) < _SIDE_BY_SIDE:
            answers = [self._judged(pair) for pair in pairs]
        else:
            # Kept for the session: memory that a thread leaves behind is not used by the next one.
            self._threads = self._threads or ThreadPoolExecutor(_SIDE_BY_SIDE)
            answers = list(self._threads.map(self._judged, pairs))
        for step, said in zip(asked, chain.from_iterable(answers), strict=True):
            if said is None:
                self._steps.add(step.end, step.speech, NO_SPEECH, {}, {})
            else:
                reason = said["reason"] if said["reason"] == LOW_CONFIDENCE else None
                self._steps.add(step.end, step.speech, reason, said["probabilities"], said["modalities"])

    def _asked(self, number: int, length: int, heard: bool) -> _Step:
        """What a step is judged by."""
        closes = min(self._grid.closes(number), length)
        step = _pair(self._grid.segments(closes, first=number))
        window = _pair(self._grid.windows(closes, first=number))
        share = self._sound.speech_share(*step) if heard else None
        spoken = (share or 0.0) >= _LEAST_SHARE and self._sound.speech_seconds(*window) >= LEAST_SPEECH
        edge = _EDGE if self._margin is None else self._margin
        heard_in = self._sound.utterance(step, window, edge) if spoken else None
        beside = {said: self._evidence.step(step, window, said) for said in {spoken, False}}
        return _Step(to_seconds(step[1]), share, heard_in, beside)

    def _judged(self, steps: Sequence[_Step]) -> list[dict[str, Any] | None]:
        said = []
        for step, speech in zip(steps, self._heard([step.utterance for step in steps]), strict=True):
            tracks = dict(step.beside[speech is not None])
            if speech is not None:
                tracks["speech"] = speech
            said.append(self._answers.emotion(self._parts.fuse(tracks), tracks) if tracks else None)
        return said

    def _heard(self, utterances: Sequence[_Stretch | None]) -> list[Track | None]:
        """What the speech part hears in each stretch, None when that is no voice. Stretches that overlap are heard
        as one, and each has its frames of it."""
        there = [stretch for stretch in utterances if stretch is not None]
        timed = self._part is not None and self._part.clock is not None
        heard = {span: self._voice(self._speech(*span)) for span in (_joined(there) if timed else there)}
        return [None if stretch is None else _within(heard, stretch) for stretch in utterances]

    def _spread_text(self) -> bool:
        """Spread a text without times over what is spoken, once; whether there now are words from it."""
        if not self._text or not self._sound.count or self._evidence.words:
            return False
        stretches = activity.speech_spans(self._sound.probability())
        self._evidence.add(spread_words(self._text, stretches or to_seconds(self._sound.count)), ())
        return True

    # --- what comes in ---

    def _take(self, words: Sequence[Word], faces: Faces) -> None:
        answered = self._answered
        if len(self._steps):
            answered = max(answered, self._grid.closes(len(self._steps) - 1))
        if any(middle(word) < answered for word in words) and "words_late" not in self._warnings:
            self._warnings.append("words_late")
        self._evidence.add(words, faces)

    def _said(self, segment: Segment) -> tuple[str, ...]:
        return self._evidence.said_between(to_samples(segment.start), to_samples(segment.end))

    def _forget(self) -> None:
        """Let go of sound and faces that no window will ask for again."""
        needed = self._answered
        if self._timeline:
            needed = min(needed, len(self._steps) * self._grid.hop_samples - self._grid.margin)
        self._sound.forget(needed)
        self._evidence.forget(needed)

    def _check_open(self) -> None:
        if self._finished:
            raise DataError("nothing_to_predict", "this session is finished: begin another with stream()")

    def _check_length(self) -> None:
        count = self._sound.count
        if self._part is not None and 0 < count < self._part.min_seconds * RATE:
            raise MediaError(
                "audio_too_short",
                f"{self._file or 'the audio'} lasts {to_seconds(count):.2f} s, the model needs at least "
                f"{self._part.min_seconds:g} s: give a longer recording",
            )


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of the timeline before it is judged: its end in seconds, the share of it that is speech, where
    its speech is (in samples), and what stands beside it, when that is a voice and when not."""

    end: float
    speech: float | None
    utterance: _Stretch | None
    beside: dict[bool, dict[str, Track]]


class _Mean:
    """The weighted mean of the windows' outputs."""

    def __init__(self) -> None:
        self.weight = 0.0
        self._sum: Outputs = {}

    def add(self, outputs: Outputs, weight: float) -> None:
        self.weight += weight
        for name, value in outputs.items():
            self._sum[name] = self._sum.get(name, np.zeros_like(value)) + weight * value

    def mean(self) -> Outputs:
        return {name: value / self.weight for name, value in self._sum.items()}


def _joined(stretches: Sequence[_Stretch]) -> list[_Stretch]:
    """The stretches in order, those that overlap as one."""
    joined: list[_Stretch] = []
    for start, end in sorted(stretches):
        if joined and start < joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def _within(tracks: Mapping[_Stretch, Track | None], stretch: _Stretch) -> Track | None:
    """A stretch's own frames, of the Track of the stretch that it lies in; all of them where it has none."""
    track = next(track for (start, end), track in tracks.items() if start <= stretch[0] and stretch[1] <= end)
    if stretch in tracks or track is None or track.times is None:
        return track
    first, last = times_within(np.array([stretch]), track.times[0])[0]
    if first == last:
        return track
    return Track(*(values[:, first:last] for values in (track.values, track.mask, track.times)))


def _pair(spans: NDArray[np.int64]) -> _Stretch:
    return int(spans[0, 0]), int(spans[0, 1])
