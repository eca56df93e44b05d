"""FER+: small grey faces, each with the votes of ten annotators.

Origin: Barsoum et al. 2016, "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced
Label Distribution", ICMI; github.com/microsoft/FERPlus for the votes, Kaggle's FER2013 challenge for the
faces.
Licence: votes MIT; the faces are images from the web, for research, rights unclear.

Layout: `fer2013new.csv` (Usage, Image name, ten columns of votes), and the faces either as
`FER2013Train/fer0000000.png`, `FER2013Valid/`, `FER2013Test/` (also under `data/`), or inside `fer2013.csv`
(emotion, pixels, Usage; the same rows in the same order). Faces inside the table are unpacked once, into
`ferplus_faces.zip` beside it (35,887 faces, some 50 MB), because a Clip points at pictures.

Quirks: four image names stand twice with different votes (left out); 173 rows have no image name, being no
face. The emotion of a clip is the distribution of its votes over the seven, and `attributes["majority"]` is
the emotion most annotators chose, "" on a tie. A face is dropped when the most votes went to what has no
place among the seven: contempt, unknown, not a face. Nobody knows who the people are: there is no speaker.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import csv_rows, layout_error, manifest_corpus
from affetto.data.corpora.pixels import unpack
from affetto.data.manifest import Corpus
from affetto.errors import DataError
from affetto.records import Clip

LICENCE = "votes MIT; faces for research, rights unclear"

_FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
_SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
_VOTES = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
_HEADER = ["Usage", "Image name", *_VOTES]


@dataclass(frozen=True, slots=True)
class _Face:
    """A row of fer2013new.csv."""

    usage: str
    name: str
    votes: dict[str, float]


def read(path: str | Path) -> Corpus:
    """FER+, official splits. Raises DataError `corpus_layout` for a folder that does not hold it.

    Raises DataError `output_unwritable` where the faces of `fer2013.csv` cannot be unpacked.
    """
    folder = Path(path)
    return manifest_corpus(folder, "ferplus", LICENCE, labels.FERPLUS) or _published(folder)


def _published(folder: Path) -> Corpus:
    wanted = "fer2013new.csv with FER2013Train/*.png or fer2013.csv, or manifest.csv"
    table = folder / "fer2013new.csv"
    if not table.is_file():
        raise layout_error("FER+", folder, wanted)
    faces = list(_faces(table))
    pictures = _pictures(folder, faces)
    if not pictures:
        raise layout_error("FER+", folder, wanted)
    counts = Counter(face.name for face in faces if face.name)
    twice = sorted(name for name, count in counts.items() if count > 1)
    dropped: Counter[str] = Counter()
    clips: list[Clip] = []
    missing = 0
    for face in faces:
        leaders = labels.leading(face.votes)
        if counts[face.name] > 1:
            continue
        if all(labels.to_emotion(label, labels.FERPLUS) is None for label in leaders):
            dropped["|".join(leaders)] += 1
        elif face.name not in pictures:
            missing += 1
        else:
            clips.append(_clip(face, pictures[face.name]))
    problems = [f"left out {', '.join(twice)}: the name stands twice"] if twice else []
    if missing:
        problems.append(f"left out {missing} rows whose picture is missing")
    return Corpus("ferplus", LICENCE, tuple(clips), dict(dropped), tuple(problems))


def _clip(face: _Face, picture: str) -> Clip:
    return Clip(
        id=Path(face.name).stem,
        vision=picture,
        labels={"emotion": labels.votes_to_emotions(face.votes, labels.FERPLUS)},
        split=_SPLITS[face.usage],
        corpus="ferplus",
        attributes={
            "majority": labels.majority(face.votes, labels.FERPLUS),
            "votes": f"{labels.votes_with_place(face.votes, labels.FERPLUS):g}",
        },
    )


def _faces(table: Path) -> Iterator[_Face]:
    for number, row in enumerate(csv_rows(table, _HEADER), start=1):
        try:
            votes = {name: float(row[name]) for name in _VOTES}
            usage = row["Usage"]
            if usage not in _SPLITS or min(votes.values()) < 0:
                raise ValueError
        except (ValueError, TypeError):
            message = f"{table}, row {number}: expected one of {', '.join(_SPLITS)} and ten counts of votes"
            raise DataError("corpus_layout", message) from None
        yield _Face(usage, row["Image name"].strip(), votes)


def _pictures(folder: Path, faces: list[_Face]) -> dict[str, str]:
    """Where each picture lies, by its image name; unpacks `fer2013.csv` where the pictures are in it."""
    found = {
        file.stem + ".png": str(file)
        for base in (folder, folder / "data")
        for part in _FOLDERS.values()
        for file in sorted((base / part).glob("fer*.*"))
        if file.suffix.lower() in (".png", ".jpg")
    }
    if found:
        return found
    archive, pixels = folder / "ferplus_faces.zip", folder / "fer2013.csv"
    if not archive.is_file():
        if not pixels.is_file():
            return {}
        names = [face.name and f"{_FOLDERS[face.usage]}/{face.name}" for face in faces]
        unpack(pixels, names, archive)
    with zipfile.ZipFile(archive) as opened:
        return {Path(member).name: f"{archive}#{member}" for member in opened.namelist()}
