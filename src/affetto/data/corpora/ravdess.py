"""RAVDESS: English actors saying two sentences in eight emotions.

Origin: Livingstone & Russo 2018, "The Ryerson Audio-Visual Database of Emotional Speech and Song", PLoS ONE
13(5); Zenodo record 1188976. Licence: CC BY-NC-SA 4.0 (not for commercial use).

Layout: `Actor_01/03-01-06-01-02-01-12.wav` ... `Actor_24/`, in any folder above. The name is a code of seven
numbers: modality (01 sound and picture, 02 picture, 03 sound), channel (01 speech, 02 song), emotion,
intensity (01 normal, 02 strong), sentence, repetition, actor (even = woman). Speech as sound alone is read;
songs and videos are recognised by name and left out: a video's sound is that of the audio file again.

Quirks: neutral has no strong intensity, so it has half as many clips; calm counts as neutral. A widespread
copy holds the whole tree twice: the second is left out. Two clips of actor 07 are the same recording.
The sentences are the same in every emotion: the text is no evidence.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import layout_error, manifest_corpus
from affetto.data.manifest import Corpus
from affetto.errors import DataError
from affetto.records import Clip

LICENCE = "CC BY-NC-SA 4.0"
SAME_RECORDING = ("03-01-03-01-02-01-07", "03-01-03-01-02-02-07")

_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_SENTENCES = ("Kids are talking by the door", "Dogs are sitting by the door")
_KINDS = {
    "0101": "video",
    "0201": "silent video",
    "0102": "song video",
    "0202": "silent song video",
    "0302": "song",
}
_NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)")


def read(path: str | Path) -> Corpus:
    """The speech of RAVDESS. Raises DataError `corpus_layout` for a folder that does not hold it."""
    folder = Path(path)
    corpus = manifest_corpus(folder, "ravdess", LICENCE, labels.RAVDESS, scripted=True)
    corpus = corpus or _published(folder)
    if set(SAME_RECORDING) <= {clip.id for clip in corpus.clips}:
        note = f"{SAME_RECORDING[0]} and {SAME_RECORDING[1]} are the same recording (as published)"
        corpus = Corpus(corpus.name, corpus.licence, corpus.clips, corpus.dropped, (*corpus.problems, note))
    return corpus


def _published(folder: Path) -> Corpus:
    clips: dict[str, Clip] = {}
    left_out: Counter[str] = Counter()
    for file in sorted(folder.rglob("Actor_*/*.*")):
        code = _NAME.fullmatch(file.stem)
        kind = _KINDS.get(code[1] + code[2], "speech") if code else "other"
        if code is None or kind != "speech" or file.suffix.lower() not in (".wav", ".flac"):
            left_out[kind if kind != "speech" else "other"] += 1
        elif file.stem in clips:
            left_out["repeated"] += 1
        else:
            clips[file.stem] = _clip(file, code)
    problems = tuple(f"left out {count} {kind} files" for kind, count in sorted(left_out.items()))
    if not clips:
        raise _nothing(folder, problems)
    return Corpus("ravdess", LICENCE, tuple(clips.values()), problems=problems)


def _clip(file: Path, code: re.Match[str]) -> Clip:
    _, _, emotion, intensity, sentence, repetition, actor = code.groups()
    return Clip(
        id=file.stem,
        speech=str(file),
        text=_SENTENCES[int(sentence) - 1],
        speaker=actor,
        gender="male" if int(actor) % 2 else "female",
        language="en",
        scripted=True,
        labels={"emotion": labels.RAVDESS[_EMOTIONS[int(emotion) - 1]]},
        corpus="ravdess",
        attributes={
            "intensity": "strong" if intensity == "02" else "normal",
            "repetition": str(int(repetition)),
        },
    )


def _nothing(folder: Path, problems: tuple[str, ...]) -> DataError:
    found = f", but found only: {'; '.join(problems)}" if problems else ""
    return layout_error("RAVDESS", folder, f"Actor_01/03-01-...-01.wav or manifest.csv{found}")
