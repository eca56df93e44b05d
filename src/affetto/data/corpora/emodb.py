"""EmoDB: German actors saying ten sentences in seven emotions.

Origin: Burkhardt et al. 2005, "A Database of German Emotional Speech", Interspeech. Licence: CC0 1.0.

Layout: `wav/03a01Fa.wav`. The name is a code: speaker (03), sentence (a01), the German letter of the emotion
(W Wut, L Langeweile, E Ekel, A Angst, F Freude, T Trauer, N neutral), version (a, b, ...).

Quirks: boredom has no place among the seven and is dropped. Clips that listeners did not recognise were left
out by the authors, so classes and speakers are uneven. Copies that were cut to two seconds exist: where a
manifest says so, `attributes["truncated"]` is "1", and a model learns the cut unless it crops every clip.
The sentences are the same in every emotion: the text is no evidence.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import layout_error, manifest_corpus
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "CC0-1.0"

_EMOTIONS = {
    "W": "angry",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
_SPEAKERS = {  # gender and age in years, as published
    "03": ("male", "31"),
    "08": ("female", "34"),
    "09": ("female", "21"),
    "10": ("male", "32"),
    "11": ("male", "26"),
    "12": ("male", "30"),
    "13": ("female", "32"),
    "14": ("female", "35"),
    "15": ("male", "25"),
    "16": ("female", "31"),
}
_SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z]?)")


def read(path: str | Path) -> Corpus:
    """EmoDB. Raises DataError `corpus_layout` for a folder that does not hold it."""
    folder = Path(path)
    corpus = manifest_corpus(folder, "emodb", LICENCE, labels.EMODB, scripted=True)
    return corpus or _published(folder)


def _published(folder: Path) -> Corpus:
    wav = folder / "wav" if (folder / "wav").is_dir() else folder
    clips: list[Clip] = []
    dropped: Counter[str] = Counter()
    strange: list[str] = []
    for file in sorted(file for file in wav.glob("*.*") if file.suffix.lower() in (".wav", ".flac")):
        code = _NAME.fullmatch(file.stem)
        if code is None or code[1] not in _SPEAKERS or code[2] not in _SENTENCES:
            strange.append(file.name)
            continue
        label = _EMOTIONS[code[3]]
        emotion = labels.EMODB[label]
        if emotion is None:
            dropped[label] += 1
        else:
            clips.append(_clip(file, code, emotion))
    if not clips and not dropped:
        raise layout_error("EmoDB", folder, "wav/03a01Fa.wav ... or manifest.csv")
    problems = (f"left out {len(strange)} files without an EmoDB name: {strange[0]}",) if strange else ()
    return Corpus("emodb", LICENCE, tuple(clips), dict(dropped), problems)


def _clip(file: Path, code: re.Match[str], emotion: str) -> Clip:
    gender, age = _SPEAKERS[code[1]]
    return Clip(
        id=file.stem,
        speech=str(file),
        text=_SENTENCES[code[2]],
        speaker=code[1],
        gender=gender,
        language="de",
        scripted=True,
        labels={"emotion": emotion},
        corpus="emodb",
        attributes={"sentence": code[2], "age": age},
    )
