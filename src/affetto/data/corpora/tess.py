"""TESS: two Canadian women saying "Say the word ..." in seven emotions.

Origin: Pichora-Fuller & Dupuis 2020, "Toronto emotional speech set (TESS)", Borealis, doi:10.5683/SP2/E8H2MF.
Licence: CC BY-NC-ND 4.0 (not for commercial use).

Layout: `OAF_back_angry.wav`, alone or in folders such as `OAF_angry/`: speaker (OAF is 64 years old, YAF is
26), word, emotion (ps is pleasant surprise).

Quirks: with two speakers no figure says anything about a third. One file has lost a letter of its name
(`OA_bite_neutral.wav`). A widespread copy holds the whole tree twice: the second is left out. The 200 words
are the same in every emotion: the text is no evidence.
"""

from __future__ import annotations

import re
from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import AUDIO, coded_files, files_under, scripted_speech
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "CC BY-NC-ND 4.0"

_AGES = {"OAF": "64", "YAF": "26"}
_NAME = re.compile(r"(OAF?|YAF)_([a-z]+)_(angry|disgust|fear|happy|neutral|ps|sad)", re.IGNORECASE)


def read(path: str | Path) -> Corpus:
    """TESS. Raises DataError `corpus_layout` for a folder that does not hold it."""
    return scripted_speech(Path(path), "tess", LICENCE, labels.TESS, _published, "OAF_back_angry.wav")


def _published(folder: Path) -> tuple[list[Clip], tuple[str, ...]]:
    files, problems = coded_files(files_under(folder, AUDIO), _NAME)
    return [_clip(file, code) for file, code in files], problems


def _clip(file: Path, code: re.Match[str]) -> Clip:
    name, word, emotion = code.groups()
    speaker = "OAF" if name.upper().startswith("OA") else "YAF"
    label = "pleasant surprise" if emotion.lower() == "ps" else emotion.lower()
    return Clip(
        id=file.stem,
        speech=str(file),
        text=f"Say the word {word.lower()}",
        speaker=speaker,
        gender="female",
        language="en",
        scripted=True,
        labels={"emotion": labels.TESS[label]},
        corpus="tess",
        attributes={"sentence": word.lower(), "age": _AGES[speaker]},
    )
