"""CK+: 123 people posing expressions, each filmed from neutral to its peak.

Origin: Lucey et al. 2010, "The Extended Cohn-Kanade Dataset (CK+)", CVPR workshops. Licence: on request, for
research only.

Layout: `cohn-kanade-images/S005/001/S005_001_00000011.png` (person, sequence, picture) and
`Emotion/S005/001/S005_001_00000011_emotion.txt` with one number such as `3.0000000e+00`: 0 neutral, 1 anger, 2
contempt, 3 disgust, 4 fear, 5 happy, 6 sadness, 7 surprise. Known from the public code of its users: the corpus
itself was not at hand.

Quirks: 327 of 593 sequences have a label, that of their last picture. That picture is read with it, and the first
one of the same sequence as neutral, which is how a sequence begins. Every expression is posed, and every person
stands in several classes: split by speaker.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import (
    PICTURES,
    any_text,
    files_under,
    layout_error,
    manifest_corpus,
    missing_files,
)
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "on request, research only"

_CODES = dict(enumerate(("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")))


def read(path: str | Path) -> Corpus:
    """The peaks and beginnings of CK+. Raises DataError `corpus_layout` for a folder that does not hold it."""
    folder = Path(path)
    return manifest_corpus(folder, "ckplus", LICENCE, labels.CK_PLUS) or _published(folder)


def _published(folder: Path) -> Corpus:
    answers = sorted(folder.glob("Emotion/S*/*/S*_emotion.txt"))
    if not answers:
        wanted = "Emotion/S005/001/*_emotion.txt and cohn-kanade-images/S005/001/*.png, or manifest.csv"
        raise layout_error("CK+", folder, wanted)
    clips: list[Clip] = []
    dropped: Counter[str] = Counter()
    missing: list[str] = []
    problems: list[str] = []
    for answer in answers:
        person, sequence = answer.parts[-3:-1]
        label = _label(answer)
        emotion = labels.CK_PLUS.get(label or "")
        pictures = files_under(folder / "cohn-kanade-images" / person / sequence, PICTURES)
        if label is None:
            problems.append(f"{answer.name} holds no number from 0 to 7")
        elif not pictures:
            missing.append(f"{person}/{sequence}")
        elif emotion is None:
            dropped[label] += 1
        else:
            shown = {pictures[0]: "neutral", pictures[-1]: emotion}
            clips += [_clip(picture, person, what) for picture, what in shown.items()]
    return Corpus("ckplus", LICENCE, tuple(clips), dict(dropped), (*problems, *missing_files(missing)))


def _label(answer: Path) -> str | None:
    try:
        return _CODES.get(int(float(any_text(answer, "latin-1"))))
    except ValueError:
        return None


def _clip(picture: Path, person: str, emotion: str) -> Clip:
    return Clip(
        id=picture.stem,
        vision=str(picture),
        speaker=person,
        labels={"emotion": emotion},
        corpus="ckplus",
    )
