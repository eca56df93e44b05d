"""EMOVO: six Italian actors saying fourteen sentences in seven emotions.

Origin: Costantini et al. 2014, "EMOVO Corpus: an Italian Emotional Speech Database", LREC; Fondazione Ugo
Bordoni. Licence: not stated; published for research.

Layout: `f1/dis-f1-b1.wav` in six folders f1 f2 f3 m1 m2 m3: emotion (dis disgusto, gio gioia, neu neutro, pau
paura, rab rabbia, sor sorpresa, tri tristezza), actor (f woman, m man), sentence.

Quirks: sentences n1 to n5 mean nothing, on purpose. The sentences are the same in every emotion: the text is
no evidence.
"""

from __future__ import annotations

import re
from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import AUDIO, coded_files, files_under, scripted_speech
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "not stated (research)"

_EMOTIONS = {
    "dis": "disgust",
    "gio": "joy",
    "neu": "neutral",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}
_NAME = re.compile(r"(dis|gio|neu|pau|rab|sor|tri)-([fm][1-3])-([bdln]\d)")


def read(path: str | Path) -> Corpus:
    """EMOVO. Raises DataError `corpus_layout` for a folder that does not hold it."""
    return scripted_speech(Path(path), "emovo", LICENCE, labels.EMOVO, _published, "f1/dis-f1-b1.wav")


def _published(folder: Path) -> tuple[list[Clip], tuple[str, ...]]:
    files, problems = coded_files(files_under(folder, AUDIO), _NAME)
    return [_clip(file, code) for file, code in files], problems


def _clip(file: Path, code: re.Match[str]) -> Clip:
    emotion, speaker, sentence = code.groups()
    return Clip(
        id=file.stem,
        speech=str(file),
        speaker=speaker,
        gender="female" if speaker[0] == "f" else "male",
        language="it",
        scripted=True,
        labels={"emotion": labels.EMOVO[_EMOTIONS[emotion]]},
        corpus="emovo",
        attributes={"sentence": sentence},
    )
