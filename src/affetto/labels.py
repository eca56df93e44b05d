"""The label contract: seven emotions, and each corpus's mapping onto them, written down once.

A mapping names every label its corpus publishes. `None` means that the label has no place among the seven:
the clip is dropped and counted, never squeezed into a neighbour. Labels are looked up in lower case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import dist, fsum, log2

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


def _everyday(*names: str) -> dict[str, str]:
    """A label set, or a part of one, that is made of everyday spellings."""
    return {name: ALIASES[name] for name in names}


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

#: Busso et al. 2008, "IEMOCAP". Excited is told from happy by arousal alone; the field's four classes merge them.
IEMOCAP: Mapping[str, str | None] = {
    **_everyday("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    "excited": "happiness",
    **dict.fromkeys(("frustration", "other", "no agreement"), None),
}

#: Poria et al. 2019, "MELD".
MELD: Mapping[str, str] = _everyday("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")

#: Cao et al. 2014, "CREMA-D".
CREMA_D: Mapping[str, str] = _everyday("anger", "disgust", "fear", "happy", "neutral", "sad")

#: Lotfian & Busso 2019, "MSP-Podcast".
MSP_PODCAST: Mapping[str, str | None] = {
    **_everyday("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
    **dict.fromkeys(("contempt", "other", "no agreement"), None),
}

#: Haq & Jackson 2010, "SAVEE".
SAVEE: Mapping[str, str] = _everyday(
    "anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"
)

#: Pichora-Fuller & Dupuis 2020, "TESS".
TESS: Mapping[str, str] = {
    **_everyday("angry", "disgust", "fear", "happy", "neutral", "sad"),
    "pleasant surprise": "surprise",
}

#: Costantini et al. 2014, "EMOVO".
EMOVO: Mapping[str, str] = _everyday("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")

#: Zhou et al. 2021, "ESD".
ESD: Mapping[str, str] = _everyday("angry", "happy", "neutral", "sad", "surprise")

#: Goodfellow et al. 2013, "FER2013".
FER2013: Mapping[str, str] = _everyday("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")

#: Mollahosseini et al. 2019, "AffectNet".
AFFECTNET: Mapping[str, str | None] = {
    **_everyday("anger", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
    **dict.fromkeys(("contempt", "none", "uncertain", "no face"), None),
}

#: Li et al. 2017, "RAF-DB", the seven basic expressions.
RAF_DB: Mapping[str, str] = _everyday(
    "anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"
)

#: Lucey et al. 2010, "CK+".
CK_PLUS: Mapping[str, str | None] = {
    **_everyday("anger", "disgust", "fear", "happy", "neutral", "sadness", "surprise"),
    "contempt": None,
}

#: Zahiri & Choi 2018, "EmoryNLP", the seven cores of Willcox's feeling wheel.
EMORYNLP: Mapping[str, str | None] = {
    **_everyday("joyful", "mad", "neutral", "sad", "scared"),
    **dict.fromkeys(("peaceful", "powerful"), None),
}

#: Li et al. 2017, "DailyDialog".
DAILYDIALOG: Mapping[str, str] = {
    **_everyday("anger", "disgust", "fear", "happiness", "sadness", "surprise"),
    "no emotion": "neutral",
}

#: Bagher Zadeh et al. 2018, "CMU-MOSEI".
MOSEI: Mapping[str, str] = _everyday("anger", "disgust", "fear", "happiness", "sadness", "surprise")

#: The label set of each corpus, by the name of its reader.
LABEL_SETS: Mapping[str, Mapping[str, str | None]] = {
    "affectnet": AFFECTNET,
    "ckplus": CK_PLUS,
    "cremad": CREMA_D,
    "dailydialog": DAILYDIALOG,
    "emodb": EMODB,
    "emorynlp": EMORYNLP,
    "emovo": EMOVO,
    "esd": ESD,
    "fer2013": FER2013,
    "ferplus": FERPLUS,
    "goemotions": GOEMOTIONS,
    "iemocap": IEMOCAP,
    "meld": MELD,
    "mosei_raw": MOSEI,
    "msp_podcast": MSP_PODCAST,
    "nemo": NEMO,
    "rafdb": RAF_DB,
    "ravdess": RAVDESS,
    "savee": SAVEE,
    "tess": TESS,
    "xed": XED,
}

#: Every label that some corpus publishes. The corpora agree wherever they share one (a test sees to it).
PUBLISHED: Mapping[str, str | None] = {
    label: emotion for label_map in LABEL_SETS.values() for label, emotion in label_map.items()
}

#: The dimensions of affect, in the order of `AFFECT`.
DIMENSIONS: tuple[str, ...] = ("valence", "arousal", "dominance")

#: Where the seven lie in valence, arousal and dominance, each in [-1, 1]: the mean ratings of the words angry,
#: disgusted, fearful, happy, sad and surprised in Russell & Mehrabian 1977, "Evidence for a three-factor
#: theory of emotions", Journal of Research in Personality 11 (as later work reprints them). Neutral is no
#: rating: it is the origin by definition.
AFFECT: Mapping[str, tuple[float, float, float]] = {
    "anger": (-0.51, 0.59, 0.25),
    "disgust": (-0.60, 0.35, 0.11),
    "fear": (-0.64, 0.60, -0.43),
    "happiness": (0.81, 0.51, 0.46),
    "neutral": (0.0, 0.0, 0.0),
    "sadness": (-0.63, -0.27, -0.33),
    "surprise": (0.40, 0.67, -0.13),
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far annotators agree on one clip: the labels that lead (several on a tie, none without a vote),
    the share of the votes that each of them has, and the entropy of all votes in bits (0 = unanimous)."""

    leaders: tuple[str, ...]
    share: float
    entropy: float


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


def votes_with_place(votes: Mapping[str, float], label_map: Mapping[str, str | None] = PUBLISHED) -> float:
    """How many votes went to labels that have a place among the seven: what `votes_to_emotions` divides by."""
    return fsum(count for label, count in votes.items() if to_emotion(label, label_map) is not None)


def agreement(votes: Mapping[str, float]) -> Agreement:
    """Who leads, with what share, and how spread the votes are; counts and shares give the same answer."""
    total = fsum(votes.values())
    if total <= 0:
        return Agreement((), 0.0, 0.0)
    shares = [count / total for count in votes.values() if count > 0]
    entropy = fsum(-share * log2(share) for share in shares)
    return Agreement(leading(votes), max(shares), entropy)


def labels_for(emotion: str, label_map: Mapping[str, str | None]) -> tuple[str, ...]:
    """A corpus's own labels for one of the seven: the way back of `to_emotion`.

    One label: the mapping can be undone. Several: it merged them (happiness is joy, love, pride ... in
    GoEmotions). None: the corpus knows no such emotion.
    """
    return tuple(label for label, target in label_map.items() if target == emotion)


def translate(
    label: str, source: Mapping[str, str | None], target: Mapping[str, str | None]
) -> tuple[str, ...]:
    """A label of one corpus in the words of another, by way of the seven: every label that may be meant.

    () where the label has no place among the seven, or the other corpus no label for it. Raises DataError
    `label_unknown` for a label that is not of `source`.
    """
    emotion = to_emotion(label, source)
    return () if emotion is None else labels_for(emotion, target)


def to_dimensions(shares: Mapping[str, float]) -> tuple[float, float, float]:
    """Valence, arousal and dominance in [-1, 1] of a distribution over the seven: the mean of `AFFECT`.

    Raises DataError `label_unknown` for a name that is none of the seven, and for shares that sum to 0.
    """
    unknown = next((name for name in shares if name not in AFFECT), None)
    total = fsum(shares.values())
    if unknown is not None or total <= 0:
        found = repr(unknown) if unknown is not None else "no share above 0"
        raise DataError("label_unknown", f"found {found}: expected shares of {', '.join(EMOTIONS)}")
    valence, arousal, dominance = (
        fsum(share * AFFECT[name][axis] for name, share in shares.items()) / total for axis in range(3)
    )
    return valence, arousal, dominance


def nearest_emotion(valence: float, arousal: float, dominance: float | None = None) -> str:
    """The one of the seven that lies nearest to a point, each dimension in [-1, 1].

    Without dominance the plane of valence and arousal decides, where anger and fear lie close together. This
    undoes `to_dimensions` for a single emotion; a mixture is not told from the emotion that it lies on.
    """
    point = (valence, arousal) if dominance is None else (valence, arousal, dominance)
    return min(EMOTIONS, key=lambda name: dist(point, AFFECT[name][: len(point)]))


def to_unit_scale(value: float, low: float, high: float) -> float:
    """A rating on the scale `low` to `high` as a number in [-1, 1]: IEMOCAP's 3 of 1 to 5 is 0."""
    return 2 * (value - low) / (high - low) - 1


def from_unit_scale(value: float, low: float, high: float) -> float:
    """A number in [-1, 1] as a rating on the scale `low` to `high`: undoes `to_unit_scale`."""
    return low + (value + 1) * (high - low) / 2


def _hint(key: str, known: Mapping[str, object] | list[str]) -> str:
    nearest = get_close_matches(key, known, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else f": expected one of {', '.join(EMOTIONS)}"
