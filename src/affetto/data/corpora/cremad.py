"""CREMA-D: 91 English actors saying twelve sentences in six emotions, judged by a crowd.

Origin: Cao et al. 2014, "CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset", IEEE TAFFC 5(4);
github.com/CheyneyComputerScience/CREMA-D. Licence: ODbL 1.0.

Layout: `AudioWAV/1001_DFA_ANG_XX.wav`: actor, sentence, acted emotion, level (LO, MD, HI, XX unspecified).
`VideoDemographics.csv` has the actors' age and sex. `processedResults/tabulatedVotes.csv`, which the authors
counted from `finishedResponses.csv`, has the votes of some ten people per clip for each of A D F H N S, three
times: the first digit of its unnamed column says what those people were given, 1 the voice, 2 the face,
3 both.

Quirks: the crowd hears the acted emotion in well under half of the recordings; the rest sounds neutral to it.
By default the emotion is therefore the distribution of the votes on the voice; `labels="multimodal"` takes the
votes on voice and face, `labels="acted"` what the file name says, as many papers do without saying so.
`attributes["acted"]` is there in any case, `attributes["majority"]` is "" on a tie. A widely used benchmark has
all 91 actors in training and in test: split by speaker. `1076_MTI_SAD_XX` has no sound. A checkout without Git
LFS holds small text files in place of the recordings. The sentences are the same in every emotion: the text is
no evidence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from affetto import labels as contract
from affetto.data.corpora.layout import (
    AUDIO,
    coded_files,
    csv_rows,
    files_under,
    layout_error,
    manifest_corpus,
)
from affetto.data.manifest import Corpus
from affetto.errors import ConfigError, DataError
from affetto.records import Clip

LICENCE = "ODbL 1.0"
SILENT = "1076_MTI_SAD_XX"

_ACTED = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_VOTED = {label[0].upper(): label for label in _ACTED.values()}
_GIVEN = {"voice": "1", "multimodal": "3"}
_SENTENCES = {
    "DFA": "Don't forget a jacket",
    "IEO": "It's eleven o'clock",
    "IOM": "I'm on my way to the meeting",
    "ITH": "I think I have a doctor's appointment",
    "ITS": "I think I've seen this before",
    "IWL": "I would like a new alarm clock",
    "IWW": "I wonder what this is about",
    "MTI": "Maybe tomorrow it will be cold",
    "TAI": "The airplane is almost full",
    "TIE": "That is exactly what happened",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
_NAME = re.compile(rf"(1\d{{3}})_({'|'.join(_SENTENCES)})_({'|'.join(_ACTED)})_(LO|MD|HI|XX?)")


def read(path: str | Path, labels: str = "voice") -> Corpus:
    """CREMA-D, with the labels voice, multimodal or acted.

    Raises DataError `corpus_layout` for a folder that does not hold it, or not those votes; ConfigError
    `option_invalid` for other labels.
    """
    if labels not in (*_GIVEN, "acted"):
        raise ConfigError("option_invalid", f"labels {labels!r}: expected voice, multimodal or acted")
    folder = Path(path)
    corpus = manifest_corpus(folder, "cremad", LICENCE, contract.CREMA_D, scripted=True)
    return corpus or _published(folder, labels)


def _published(folder: Path, wanted: str) -> Corpus:
    files, problems = coded_files(files_under(folder, AUDIO), _NAME)
    if not files:
        raise layout_error("CREMA-D", folder, "AudioWAV/1001_DFA_ANG_XX.wav ... or manifest.csv")
    votes = None if wanted == "acted" else _votes(folder, _GIVEN[wanted])
    people = _people(folder)
    clips = []
    unheard = 0
    for file, code in files:
        if file.stem == SILENT:
            problems = (*problems, f"left out {SILENT}: it has no sound")
        elif votes is not None and file.stem not in votes:
            unheard += 1
        else:
            counts = {_ACTED[code[3]]: 1.0} if votes is None else votes[file.stem]
            clips.append(_clip(file, code, counts, people.get(code[1], {}), voted=votes is not None))
    if unheard:
        problems = (*problems, f"left out {unheard} recordings without votes")
    return Corpus("cremad", LICENCE, tuple(clips), problems=problems)


def _votes(folder: Path, given: str) -> dict[str, dict[str, float]]:
    """The counts of each recording, of the people who were given its voice, or its voice and face."""
    table = folder / "processedResults" / "tabulatedVotes.csv"
    if not table.is_file():
        wanted = 'processedResults/tabulatedVotes.csv, which has the votes; labels="acted" does without'
        raise layout_error("CREMA-D", folder, wanted)
    try:
        return {
            row["fileName"]: {label: float(row[letter]) for letter, label in _VOTED.items()}
            for row in csv_rows(table, ["", *_VOTED, "fileName"])
            if row[""].startswith(given)
        }
    except ValueError as error:
        raise DataError("corpus_layout", f"{table} does not hold counts of votes: {error}") from None


def _people(folder: Path) -> dict[str, dict[str, str]]:
    table = folder / "VideoDemographics.csv"
    return (
        {row["ActorID"]: row for row in csv_rows(table, ["ActorID", "Age", "Sex"])} if table.is_file() else {}
    )


def _clip(
    file: Path, code: re.Match[str], votes: Mapping[str, float], person: Mapping[str, str], *, voted: bool
) -> Clip:
    speaker, sentence, acted, level = code.groups()
    emotion = contract.CREMA_D[_ACTED[acted]]
    attributes = {"sentence": sentence, "level": level, "acted": emotion}
    if voted:
        attributes["majority"] = contract.majority(votes, contract.CREMA_D)
        attributes["votes"] = f"{contract.votes_with_place(votes, contract.CREMA_D):g}"
    if person:
        attributes["age"] = person["Age"]
    label: Any = contract.votes_to_emotions(votes, contract.CREMA_D) if voted else emotion
    return Clip(
        id=file.stem,
        speech=str(file),
        text=_SENTENCES[sentence],
        speaker=speaker,
        gender={"Male": "male", "Female": "female"}.get(person.get("Sex", "")),
        language="en",
        scripted=True,
        labels={"emotion": label},
        corpus="cremad",
        attributes=attributes,
    )
