"""A small call whose every number is known: anger, silence, joy of which no word is known, and doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from affetto.labels import EMOTIONS
from affetto.records import Prediction, Segment, Span, Verdict, Word


def shares(emotion: str, share: float) -> dict[str, float]:
    """`share` for one emotion, the rest for the other six alike."""
    return {name: share if name == emotion else (1 - share) / 6 for name in EMOTIONS}


def step(
    index: int, emotion: str | None, words: tuple[str, ...] = (), *, reason: str | None = None
) -> Segment:
    start, end = index / 2, (index + 1) / 2
    if reason == "no_speech":
        return Segment(start, end, None, {}, {}, words, 0.0, reason)
    felt = shares(emotion or "neutral", 0.7 if emotion else 0.2)
    said = {
        "speech": Verdict(emotion or "fear", felt, 0.6),
        "text": Verdict("sadness", shares("sadness", 0.4), None),
    }
    return Segment(start, end, emotion, felt, said, words, 1.0, reason)


WORDS = (
    Word("I", 0.1, 0.2),
    Word("said", 0.25, 0.5),
    Word('né,"<no>', 0.5, 0.9),
    Word("who", 3.1, 3.3, estimated=True),
    Word("knows?", 3.3, 3.8, estimated=True),
)
CALL = Prediction(
    "anger",
    0.5,
    shares("anger", 0.5),
    {
        "speech": Verdict("anger", shares("anger", 0.6), 0.6),
        "text": Verdict("sadness", shares("sadness", 0.4), None),
    },
    ("vision",),
    file="calls/call.wav",
    duration=4.0,
    segments=(
        step(0, "anger", ("I", "said")),
        step(1, "anger", ('né,"<no>',)),
        step(2, None, reason="no_speech"),
        step(3, None, reason="no_speech"),
        step(4, "happiness"),
        step(5, "happiness"),
        step(6, None, ("who", "knows?"), reason="low_confidence"),
        step(7, None, reason="low_confidence"),
    ),
    spans=(
        Span(0.0, 1.0, "anger", 0.7, ("I", "said", 'né,"<no>')),
        Span(1.0, 2.0, None, 0.0, (), "no_speech"),
        Span(2.0, 3.0, "happiness", 0.7),
        Span(3.0, 4.0, None, 0.2, ("who", "knows?"), "low_confidence"),
    ),
    words=WORDS,
    warnings=("not_calibrated",),
    model={"name": "default", "sha256": "abcdef0123456789", "licence": "CC BY 4.0"},
)


@pytest.fixture
def call() -> Callable[..., Prediction]:
    """The call, changed: call(words=())."""
    return lambda **changes: replace(CALL, **changes)
