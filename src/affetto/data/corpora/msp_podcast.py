"""MSP-Podcast: English podcasts, spontaneous speech with the votes of at least five annotators a turn.

Origin: Lotfian & Busso 2019, "Building Naturalistic Emotionally Balanced Speech Corpus by Retrieving Emotional
Speech from Existing Podcast Recordings", IEEE TAFFC 10(4); UT Dallas. Licence: on request, by agreement.

Layout: `Audios/MSP-PODCAST_0001_0008.wav`; `Labels/labels_consensus.csv` (before release 1.8
`labels_concensus.csv`) with FileName, EmoClass (A angry, S sad, H happy, U surprise, F fear, D disgust, C contempt, N
neutral, O other, X no agreement), EmoAct, EmoVal, EmoDom from 1 to 7, SpkrID, Gender, Split_Set; where it is
there, `Labels/labels_detailed.json` with every annotator's EmoClass_Major; `Transcripts/MSP-PODCAST_0001_0008.txt`
from release 1.10 on. Known from the public code of its users: the corpus itself was not at hand.

Quirks: the emotion is the distribution of the votes where there are any, else the consensus;
`attributes["majority"]` is the consensus, "" where annotators did not agree. Valence, arousal and dominance are
brought to [-1, 1]. There are up to three test sets: `attributes["partition"]` tells which, Test1 being the one
that papers report. A test set without public labels comes as clips without emotion. Speakers named Unknown have
no name here, and may be the same person as another clip's: leave them out of an honest test.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from affetto import labels
from affetto.data.corpora.layout import (
    any_text,
    csv_rows,
    find_file,
    layout_error,
    manifest_corpus,
    missing_files,
)
from affetto.data.manifest import Corpus
from affetto.errors import DataError
from affetto.records import Clip, Label

LICENCE = "on request, by agreement"

_CLASSES = {
    "A": "angry",
    "C": "contempt",
    "D": "disgust",
    "F": "fear",
    "H": "happy",
    "N": "neutral",
    "O": "other",
    "S": "sad",
    "U": "surprise",
    "X": "no agreement",
}
_COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
_DIMENSIONS = ("EmoVal", "EmoAct", "EmoDom")  # in the order of labels.DIMENSIONS
_RATING = re.compile(r"[1-7](\.\d*)?")
_SPLITS = {"train": "train", "development": "validation", "validation": "validation"}


def read(path: str | Path) -> Corpus:
    """MSP-Podcast, official splits. Raises DataError `corpus_layout` for a folder that does not hold it."""
    folder = Path(path)
    return manifest_corpus(folder, "msp_podcast", LICENCE, labels.MSP_PODCAST) or _published(folder)


def _published(folder: Path) -> Corpus:
    table = find_file([folder / "Labels"], ["labels_consensus.csv", "labels_concensus.csv"])
    if table is None:
        wanted = "Labels/labels_consensus.csv and Audios/*.wav, or manifest.csv"
        raise layout_error("MSP-Podcast", folder, wanted)
    everybody = _votes(folder / "Labels" / "labels_detailed.json")
    clips: list[Clip] = []
    dropped: Counter[str] = Counter()
    missing: list[str] = []
    for row in csv_rows(table, _COLUMNS):
        label = _CLASSES.get(row["EmoClass"].strip())
        votes = everybody.get(row["FileName"], {})
        emotion = _emotion(votes, label)
        if label is not None and emotion is None:
            dropped[label] += 1
        elif not (folder / "Audios" / row["FileName"]).is_file():
            missing.append(row["FileName"])
        else:
            clips.append(_clip(folder, row, emotion, votes, label))
    return Corpus("msp_podcast", LICENCE, tuple(clips), dict(dropped), missing_files(missing))


def _votes(file: Path) -> dict[str, dict[str, float]]:
    """The votes of each recording by label; {} without the file of every annotator's answers."""
    if not file.is_file():
        return {}
    try:
        answers: Mapping[str, Mapping[str, Mapping[str, Any]]] = json.loads(any_text(file, "latin-1"))
        return {
            name: dict(Counter(_vote(str(answer["EmoClass_Major"])) for answer in people.values()))
            for name, people in answers.items()
        }
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError("corpus_layout", f"{file} does not hold the annotators' answers: {error}") from None


def _vote(answer: str) -> str:
    """The label of an answer: who chose Other wrote a word of their own behind it."""
    label = answer.strip().lower()
    return label if label in labels.MSP_PODCAST else "other"


def _emotion(votes: Mapping[str, float], label: str | None) -> Label | None:
    leaders = labels.leading(votes)
    if leaders and label is not None:
        placed = any(labels.MSP_PODCAST[leader] for leader in leaders)
        return labels.votes_to_emotions(votes, labels.MSP_PODCAST) if placed else None
    return None if label is None else labels.MSP_PODCAST[label]


def _clip(
    folder: Path, row: Mapping[str, str], emotion: Label | None, votes: Mapping[str, float], label: str | None
) -> Clip:
    name = Path(row["FileName"]).stem
    transcript = folder / "Transcripts" / f"{name}.txt"
    targets: dict[str, Label] = {} if emotion is None else {"emotion": emotion}
    for dimension, column in zip(labels.DIMENSIONS, _DIMENSIONS, strict=True):
        if _RATING.fullmatch(row[column].strip()):
            targets[dimension] = labels.to_unit_scale(float(row[column]), 1, 7)
    attributes = {"partition": row["Split_Set"]}
    if votes:
        attributes |= {
            "majority": (label and labels.MSP_PODCAST[label]) or "",
            "votes": f"{labels.votes_with_place(votes, labels.MSP_PODCAST):g}",
        }
    partition = row["Split_Set"].strip().lower()
    speaker = row["SpkrID"].strip()
    gender = row["Gender"].strip().lower()
    return Clip(
        id=name,
        speech=str(folder / "Audios" / row["FileName"]),
        text=(any_text(transcript, "latin-1").strip() or None) if transcript.is_file() else None,
        speaker=None if speaker.lower() in ("", "unknown") else speaker,
        gender=gender if gender in ("female", "male") else None,
        language="en",
        labels=targets,
        split="test" if partition.startswith("test") else _SPLITS.get(partition),
        corpus="msp_podcast",
        attributes=attributes,
    )
