"""IEMOCAP: ten English actors in pairs, improvising and playing scenes, twelve hours.

Origin: Busso et al. 2008, "IEMOCAP: Interactive emotional dyadic motion capture database", Language Resources
and Evaluation 42; USC SAIL. Licence: on request, for research only.

Layout: `Session1` to `Session5`, each with `sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav` (a turn),
`sentences/ForcedAlignment/.../Ses01F_impro01_F000.wdseg` (its words with times),
`dialog/EmoEvaluation/Ses01F_impro01.txt` and `dialog/transcriptions/Ses01F_impro01.txt`. In the evaluation a
turn has a line `[6.29 - 8.23] NAME ang [2.5, 3.0, 3.5]` (label; valence, activation, dominance from 1 to 5), then a
line `C-E2: Anger; Frustration; (...)` for each annotator; C-F and C-M are the actors' own opinions. The
letter before the last number says who speaks; the one after `Ses01` says who wore the markers.

Quirks: the label is what most annotators chose, xxx where they did not agree. The field uses four classes,
anger, happiness with excited, neutral and sadness, 5,531 turns: that is what is read by default, and
everything else is counted as dropped. `labels="raw"` reads all turns: the emotion is the distribution of the votes
over the seven, the task `iemocap` holds the votes as they are given (an annotator may give several),
`attributes["majority"]` is the label. The actors' own opinions are not read. Valence, arousal and dominance are
brought to [-1, 1]. Scripted scenes are played again in every session: test on a session, and the words of its
scripted turns have been learnt from the others. `attributes["scene"]` tells them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from affetto import labels as contract
from affetto.align.words import read_words
from affetto.data.corpora.layout import any_text, layout_error, manifest_corpus, missing_files
from affetto.data.manifest import Corpus
from affetto.errors import ConfigError, DataError
from affetto.records import Clip, Label, Word

LICENCE = "on request, research only"
FOUR = ("anger", "happiness", "neutral", "sadness")

_LABELS = {
    "ang": "anger",
    "dis": "disgust",
    "exc": "excited",
    "fea": "fear",
    "fru": "frustration",
    "hap": "happiness",
    "neu": "neutral",
    "oth": "other",
    "sad": "sadness",
    "sur": "surprise",
    "xxx": "no agreement",
}
_TURN = re.compile(r"\[[\d.]+ - [\d.]+\]\s+(\w+)\s+(\w{3})\s+\[(\d\.\d+), (\d\.\d+), (\d\.\d+)\]")
_VOTE = re.compile(r"C-E\d+:\s*([^(]*)")
_SAID = re.compile(r"(Ses\d\d\w+) \[[\d.]+-[\d.]+\]:\s*(.*)")
_NAME = re.compile(r"Ses(0[1-5])[FM]_((?:impro|script)\w*?)_([FM])[X\d]\d+")


@dataclass(slots=True)
class _Turn:
    """What the annotators say of a turn."""

    name: str
    label: str
    dimensions: tuple[float, ...]
    votes: Counter[str] = field(default_factory=Counter)


def read(path: str | Path, labels: str = "four") -> Corpus:
    """IEMOCAP, with the labels four or raw.

    Raises DataError `corpus_layout` for a folder that does not hold it; ConfigError `option_invalid` for other
    labels.
    """
    if labels not in ("four", "raw"):
        raise ConfigError("option_invalid", f"labels {labels!r}: expected four or raw")
    folder = Path(path)
    return manifest_corpus(folder, "iemocap", LICENCE, contract.IEMOCAP) or _published(folder, labels)


def _published(folder: Path, wanted: str) -> Corpus:
    clips: list[Clip] = []
    dropped: Counter[str] = Counter()
    missing: list[str] = []
    unaligned = 0
    for file in sorted(folder.glob("Session[1-5]/dialog/EmoEvaluation/Ses*.txt")):
        sentences = file.parents[2] / "sentences"
        texts = dict(_SAID.findall(_text(file.parents[1] / "transcriptions" / file.name)))
        for turn in _turns(file):
            recording = sentences / "wav" / file.stem / f"{turn.name}.wav"
            code = _NAME.fullmatch(turn.name)
            if wanted == "four" and contract.IEMOCAP[turn.label] not in FOUR:
                dropped[turn.label] += 1
            elif code is None or not recording.is_file():
                missing.append(turn.name)
            else:
                words = _words(sentences / "ForcedAlignment" / file.stem / f"{turn.name}.wdseg")
                unaligned += not words
                clips.append(_clip(turn, code, recording, texts.get(turn.name), words, raw=wanted == "raw"))
    if not clips:
        layout = "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt and Session1/sentences/wav/*/*.wav"
        raise layout_error("IEMOCAP", folder, f"{layout}, or manifest.csv")
    aligned = (f"{unaligned} turns have no words with times",) if unaligned else ()
    return Corpus("iemocap", LICENCE, tuple(clips), dict(dropped), (*missing_files(missing), *aligned))


def _text(file: Path) -> str:
    return any_text(file, "windows-1252") if file.is_file() else ""


def _turns(file: Path) -> Iterator[_Turn]:
    turn: _Turn | None = None
    for line in _text(file).splitlines():
        head, vote = _TURN.match(line), _VOTE.match(line)
        if head and head[2] in _LABELS:
            if turn:
                yield turn
            turn = _Turn(head[1], _LABELS[head[2]], tuple(map(float, head.group(3, 4, 5))))
        elif vote and turn:
            given = (label.strip().lower() for label in vote[1].split(";"))
            turn.votes.update(label for label in given if label in contract.IEMOCAP)
    if turn:
        yield turn


def _words(file: Path) -> tuple[Word, ...]:
    try:
        return read_words(file, "wdseg").words
    except DataError:
        return ()


def _clip(
    turn: _Turn,
    code: re.Match[str],
    recording: Path,
    text: str | None,
    words: tuple[Word, ...],
    *,
    raw: bool,
) -> Clip:
    session, scene, speaker = code.groups()
    emotion = contract.IEMOCAP[turn.label]
    labels: dict[str, Label] = {} if emotion is None else {"emotion": emotion}
    attributes = {"session": session[1], "scene": scene}
    if raw:
        votes = {label: float(count) for label, count in turn.votes.items()}
        shares = contract.votes_to_emotions(votes, contract.IEMOCAP)
        labels = {"emotion": shares} if shares else {}
        labels |= {"iemocap": votes} if votes else {}
        placed = contract.votes_with_place(votes, contract.IEMOCAP)
        attributes |= {"majority": emotion or "", "label": turn.label, "votes": f"{placed:g}"}
    for name, value in zip(contract.DIMENSIONS, turn.dimensions, strict=True):
        if 1 <= value <= 5:
            labels[name] = contract.to_unit_scale(value, 1, 5)
    return Clip(
        id=turn.name,
        speech=str(recording),
        text=text or None,
        words=words,
        speaker=f"Ses{session}{speaker}",
        group=recording.parent.name,
        gender="female" if speaker == "F" else "male",
        language="en",
        labels=labels,
        corpus="iemocap",
        attributes=attributes,
    )
