"""The label contract: seven emotions, and each corpus's mapping onto them, written down once.

A mapping names every label its corpus publishes. `None` means that the label has no place among the seven:
the clip is dropped and counted, never squeezed into a neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from affetto.errors import DataError

EMOTIONS: tuple[str, ...] = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")

#: Everyday and corpus spellings of the seven, for command lines and free-form manifests.
ALIASES: Mapping[str, str] = {
    **{name: name for name in EMOTIONS},
    "angry": "anger",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "scared": "fear",
    "happy": "happiness",
    "joy": "happiness",
    "joyful": "happiness",
    "calm": "neutral",
    "sad": "sadness",
    "surprised": "surprise",
}

RAVDESS: Mapping[str, str | None] = {
    "neutral": "neutral",
    "calm": "neutral",  # calm counts as neutral: both are the absence of a strong emotion
    "happy": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "fear": "fear",
    "disgust": "disgust",
    "surprise": "surprise",
}

EMODB: Mapping[str, str | None] = {
    "angry": "anger",
    "boredom": None,
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
}

NEMO: Mapping[str, str | None] = {
    "angry": "anger",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "surprise": "surprise",
}

#: Demszky et al. 2020, "GoEmotions", the Ekman grouping published with the corpus.
GOEMOTIONS: Mapping[str, str | None] = {
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

#: Barsoum et al. 2016, "FER+": ten crowd votes per face.
FERPLUS: Mapping[str, str | None] = {
    "angry": "anger",
    "contempt": None,
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "not_face": None,
    "sad": "sadness",
    "surprise": "surprise",
    "unknown": None,
}


def canonical(label: str) -> str:
    """One of `EMOTIONS` for an everyday spelling ("Happy", "joy").

    Raises DataError `label_unknown`, with the nearest known spelling, for anything else.
    """
    key = label.strip().lower()
    if key in ALIASES:
        return ALIASES[key]
    nearest = get_close_matches(key, ALIASES, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise DataError("label_unknown", f"unknown emotion {label!r}: expected one of {', '.join(EMOTIONS)}{hint}")


def to_emotion(label: str, mapping: Mapping[str, str | None]) -> str | None:
    """The emotion that a corpus's label stands for, or None where it has no place among the seven.

    Raises DataError `label_unknown` when the corpus does not publish such a label.
    """
    if label not in mapping:
        raise DataError("label_unknown", f"unknown label {label!r}: the corpus has {', '.join(mapping)}")
    return mapping[label]


def votes_to_emotions(votes: Mapping[str, float], mapping: Mapping[str, str | None]) -> dict[str, float]:
    """Annotators' votes mapped onto the seven and normalised to sum to 1; {} when no vote has a place."""
    shares = dict.fromkeys(EMOTIONS, 0.0)
    for label, count in votes.items():
        emotion = to_emotion(label, mapping)
        if emotion is not None:
            shares[emotion] += float(count)
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()} if total > 0 else {}
