"""SAVEE: four English men saying sentences in seven emotions.

Origin: Haq & Jackson 2010, "Multimodal Emotion Recognition", in Machine Audition; University of Surrey.
Licence: for research only.

Layout: `AudioData/DC/sa01.wav`: speaker (DC, JE, JK, KL), emotion (a d f h n sa su), number of the sentence.
A widespread copy has all in one folder as `DC_sa01.wav`.

Quirks: four speakers are few: test on one at a time. Neutral has twice as many clips. Most sentences belong to
one emotion only, so the words give it away: the text is no evidence.
"""

from __future__ import annotations

import re
from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import AUDIO, files_under, scripted_speech
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "research only"

_EMOTIONS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}
_NAME = re.compile(r"(DC|JE|JK|KL)[-_](sa|su|[adfhn])(\d\d)")


def read(path: str | Path) -> Corpus:
    """SAVEE. Raises DataError `corpus_layout` for a folder that does not hold it."""
    return scripted_speech(Path(path), "savee", LICENCE, labels.SAVEE, _published, "AudioData/DC/a01.wav")


def _published(folder: Path) -> tuple[list[Clip], tuple[str, ...]]:
    clips: dict[str, Clip] = {}
    for file in files_under(folder, AUDIO):
        code = _NAME.fullmatch(file.stem) or _NAME.fullmatch(f"{file.parent.name}-{file.stem}")
        if code is not None:
            clip = _clip(file, code)
            clips.setdefault(clip.id, clip)
    return [*clips.values()], ()


def _clip(file: Path, code: re.Match[str]) -> Clip:
    speaker, emotion, sentence = code.groups()
    return Clip(
        id=f"{speaker}-{emotion}{sentence}",
        speech=str(file),
        speaker=speaker,
        gender="male",
        language="en",
        scripted=True,
        labels={"emotion": labels.SAVEE[_EMOTIONS[emotion]]},
        corpus="savee",
        attributes={"sentence": emotion + sentence},
    )
