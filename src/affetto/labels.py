"""The label contract: seven emotions, and each corpus's mapping onto them, written down once.

A mapping names every label its corpus publishes. `None` means that the label has no place among the seven:
the clip is dropped and counted, never squeezed into a neighbour. Labels are looked up in lower case.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from math import fsum

from affetto.errors import DataError

EMOTIONS: tuple[str, ...] = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")

#: Everyday spellings of the seven, for command lines and free-form manifests.
ALIASES: Mapping[str, str] = {
    **{name: name for name in EMOTIONS},
    **dict.fromkeys(("angry", "mad", "furious"), "anger"),
    "disgusted": "disgust",
    **dict.fromkeys(("afraid", "fearful", "frightened", "scared"), "fear"),
    **dict.fromkeys(("cheerful", "happy", "joy", "joyful"), "happiness"),
    **dict.fromkeys(("calm", "neutrality"), "neutral"),
    **dict.fromkeys(("sad", "unhappy"), "sadness"),
    "surprised": "surprise",
}

#: Livingstone & Russo 2018, "RAVDESS".
RAVDESS: Mapping[str, str] = {
    "neutral": "neutral",
    "calm": "neutral",  # calm counts as neutral: both are the absence of a strong emotion
    "happy": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "fearful": "fear",
    "disgust": "disgust",
    "surprised": "surprise",
}

#: Burkhardt et al. 2005, "EmoDB"; the corpus writes German letters, which its reader spells out.
EMODB: Mapping[str, str | None] = {
    "angry": "anger",
    "boredom": None,
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
}

#: Christop 2024, "nEMO".
NEMO: Mapping[str, str] = {
    "anger": "anger",
    "fear": "fear",
    "happiness": "happiness",
    "neutral": "neutral",
    "sadness": "sadness",
    "surprised": "surprise",
}

#: Demszky et al. 2020, "GoEmotions", the Ekman grouping published with the corpus.
GOEMOTIONS: Mapping[str, str] = {
    **dict.fromkeys(("anger", "annoyance", "disapproval"), "anger"),
    "disgust": "disgust",
    **dict.fromkeys(("fear", "nervousness"), "fear"),
    **dict.fromkeys(
        ("admiration", "amusement", "approval", "caring", "desire", "excitement", "gratitude",
         "joy", "love", "optimism", "pride", "relief"),
        "happiness",
    ),
    **dict.fromkeys(("disappointment", "embarrassment", "grief", "remorse", "sadness"), "sadness"),
    **dict.fromkeys(("confusion", "curiosity", "realization", "surprise"), "surprise"),
    "neutral": "neutral",
}  # fmt: skip

#: Öhman et al. 2020, "XED": Plutchik's eight, and a list of neutral lines.
XED: Mapping[str, str | None] = {
    "anger": "anger",
    "anticipation": None,
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happiness",
    "neutral": "neutral",
    "sadness": "sadness",
    "surprise": "surprise",
    "trust": None,
}

#: Barsoum et al. 2016, "FER+": ten crowd votes per face. "NF" (not a face) is spelled out in some copies.
FERPLUS: Mapping[str, str | None] = {
    "anger": "anger",
    "contempt": None,
    "disgust": "disgust",
    "fear": "fear",
    "happiness": "happiness",
    "neutral": "neutral",
    "nf": None,
    "not_face": None,
    "sadness": "sadness",
    "surprise": "surprise",
    "unknown": None,
}

#: Every label that some corpus publishes. The corpora agree wherever they share one (a test sees to it).
PUBLISHED: Mapping[str, str | None] = {**RAVDESS, **EMODB, **NEMO, **GOEMOTIONS, **XED, **FERPLUS}


def canonical(label: str) -> str:
    """One of `EMOTIONS` for an everyday spelling ("Happy", "joy").

    Raises DataError `label_unknown`, with the nearest known spelling, for anything else.
    """
    key = label.strip().lower()
    if key in ALIASES:
        return ALIASES[key]
    raise DataError("label_unknown", f"unknown emotion {label!r}{_hint(key, ALIASES)}")


def to_emotion(label: str, label_map: Mapping[str, str | None] = PUBLISHED) -> str | None:
    """The emotion that a label stands for, or None where it has no place among the seven.

    The label is looked up in `label_map` (a corpus's own; by default what all corpora publish), then among
    the everyday spellings. Raises DataError `label_unknown`, with the nearest known spelling, for a typo.
    """
    key = label.strip().lower()
    if key in label_map:
        return label_map[key]
    if key in ALIASES:
        return ALIASES[key]
    raise DataError("label_unknown", f"unknown emotion {label!r}{_hint(key, [*ALIASES, *label_map])}")


def leading(votes: Mapping[str, float]) -> tuple[str, ...]:
    """The labels with the most votes, in the order given: one, or several on a tie, or () without a vote."""
    most = max(votes.values(), default=0.0)
    return tuple(label for label, count in votes.items() if count == most) if most > 0 else ()


def majority(votes: Mapping[str, float], label_map: Mapping[str, str | None] = PUBLISHED) -> str:
    """The emotion most annotators chose; "" on a tie, without votes, or when it has no place."""
    leaders = leading(votes)
    return (to_emotion(leaders[0], label_map) or "") if len(leaders) == 1 else ""


def votes_to_emotions(
    votes: Mapping[str, float], label_map: Mapping[str, str | None] = PUBLISHED
) -> dict[str, float]:
    """Annotators' votes mapped onto the seven and normalised to sum to 1; {} when no vote has a place.

    Shares that already sum to 1 are left as they are, so that writing and reading changes nothing.
    """
    shares = dict.fromkeys(EMOTIONS, 0.0)
    for label, count in votes.items():
        emotion = to_emotion(label, label_map)
        if emotion is not None:
            shares[emotion] += float(count)
    total = fsum(shares.values())
    if total <= 0:
        return {}
    return shares if abs(total - 1) < 1e-9 else {name: share / total for name, share in shares.items()}


def _hint(key: str, known: Mapping[str, object] | list[str]) -> str:
    nearest = get_close_matches(key, known, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else f": expected one of {', '.join(EMOTIONS)}"
