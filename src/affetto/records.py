"""The five nouns: Clip, Track, Task, Batch, Prediction.

Shapes, one legend for the whole project: B batch, T time steps, D features, C classes, M modalities,
N samples of audio. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

MODALITIES: tuple[str, ...] = ("speech", "text", "vision")

#: A class, several classes, annotators' votes (class to share or count), or a number.
Label = str | tuple[str, ...] | Mapping[str, float] | float

#: An identity is a class too, but one that a test does not know: people are compared, not named.
TaskKind = Literal["single-label", "multi-label", "dimension", "sequence", "identity"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its time; `estimated` when the time was spread over speech, not measured."""

    text: str
    start: float
    end: float
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Clip:
    """One item of a corpus: where its media are and what is known of it. Never samples or pixels.

    `speech` and `vision` are paths (`archive.zip#member` points into a zip); `start` and `end` cut a part
    out of the media, in seconds. `scripted` says that the words were given to the speaker and are the same
    in every emotion: such text is no evidence and is never used as an input. `features` maps a modality to
    its precomputed features, `archive.npz#array` or a row of it, `archive.npz#array/7`. `labels` maps a task
    to a class, several classes, votes or a number; a clip need not carry every task.
    """

    id: str
    speech: str | None = None
    text: str | None = None
    vision: str | None = None
    start: float | None = None
    end: float | None = None
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    group: str | None = None
    gender: str | None = None
    language: str | None = None
    scripted: bool = False
    features: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Label] = field(default_factory=dict)
    split: str | None = None
    corpus: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    def modalities(self) -> tuple[str, ...]:
        """The modalities that may serve as evidence, as media or features, in the order of `MODALITIES`."""
        present = {"speech": self.speech, "text": self.text, "vision": self.vision, **self.features}
        if self.scripted:
            present["text"] = None
        return tuple(name for name in MODALITIES if present[name] is not None)


@dataclass(frozen=True, slots=True)
class Track:
    """Values on a clock, numpy or torch alike. A missing modality is an all-False row of `mask`.

    values: [B T D]; raw media tracks are waveform [B N] float, token ids [B T] int, pixels [B T 3 H W] float.
    mask:   [B T] bool (or [B N]), True = real.
    times:  [B T] float seconds, the centre of each frame; None where the clock is the mask's index alone.
    """

    values: Any
    mask: Any
    times: Any = None


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of a model: it sizes the head and picks loss and metric. `labels` are in order."""

    name: str
    kind: TaskKind
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Modality to raw media Track, and task to target with its own mask (a Clip need not carry every label).

    targets: task to [B C] float (single-label: a distribution; multi-label: 0/1) or [B] float (dimension).
    target_mask: task to [B] bool.
    """

    inputs: Mapping[str, Track]
    targets: Mapping[str, Any] = field(default_factory=dict)
    target_mask: Mapping[str, Any] = field(default_factory=dict)
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one view (a modality, or `fused`) says, and how much the vote listened to it."""

    emotion: str
    probabilities: Mapping[str, float]
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One step of the timeline: probabilities of [start, end) seconds, and the words said in it.

    `emotion` is None for the reason `no_speech`, when there are no probabilities either, or
    `low_confidence`. `speech` is the share of the step that is speech; None without a recording.
    """

    start: float
    end: float
    emotion: str | None
    probabilities: Mapping[str, float]
    modalities: Mapping[str, Verdict] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    speech: float | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As in `Prediction.to_dict()`."""
        return {
            "start": self.start,
            "end": self.end,
            "emotion": self.emotion,
            "probabilities": dict(self.probabilities),
            "modalities": {name: _verdict(verdict) for name, verdict in self.modalities.items()},
            "words": list(self.words),
            "speech": self.speech,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Span:
    """Steps of one emotion, smoothed and merged; `confidence` is the geometric mean of what they give it.

    `emotion` is None for the reason `no_speech` or `low_confidence`, as in a Segment.
    """

    start: float
    end: float
    emotion: str | None
    confidence: float
    words: tuple[str, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one item. `emotion` is None when the model abstains; `reason` then says why."""

    emotion: str | None
    confidence: float
    probabilities: Mapping[str, float]
    modalities: Mapping[str, Verdict]
    missing: tuple[str, ...]
    abstained: bool = False
    reason: str | None = None
    file: str | None = None
    duration: float | None = None
    segments: Sequence[Segment] = ()
    spans: tuple[Span, ...] = ()
    words: tuple[Word, ...] = ()
    tasks: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    model: Mapping[str, str] = field(default_factory=dict)
    elapsed: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The one shape of an answer: CLI `--json`, Python, HTTP and WebSocket alike."""
        return {
            "emotion": self.emotion,
            "file": self.file,
            "duration": self.duration,
            "confidence": self.confidence,
            "abstained": self.abstained,
            "reason": self.reason,
            "probabilities": dict(self.probabilities),
            "modalities": {name: _verdict(verdict) for name, verdict in self.modalities.items()},
            "missing": list(self.missing),
            "segments": [segment.to_dict() for segment in self.segments],
            "spans": [_span(span) for span in self.spans],
            "words": [_word(word) for word in self.words],
            "tasks": dict(self.tasks),
            "warnings": list(self.warnings),
            "model": dict(self.model),
            "elapsed": self.elapsed,
        }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "weight": verdict.weight,
        "emotion": verdict.emotion,
        "probabilities": dict(verdict.probabilities),
    }


def _span(span: Span) -> dict[str, Any]:
    return {
        "start": span.start,
        "end": span.end,
        "emotion": span.emotion,
        "confidence": span.confidence,
        "words": list(span.words),
        "reason": span.reason,
    }


def _word(word: Word) -> dict[str, Any]:
    return {"text": word.text, "start": word.start, "end": word.end, "estimated": word.estimated}
