"""FER2013: 35,887 small grey faces from the web, one label each.

Origin: Goodfellow et al. 2013, "Challenges in Representation Learning", ICONIP; Kaggle. Licence: the faces are
images from the web, for research, rights unclear.

Layout: `fer2013.csv`, in later copies `icml_face_data.csv` (emotion, Usage, pixels; 0 angry, 1 disgust, 2 fear, 3
happy, 4 sad, 5 surprise, 6 neutral), or the same as pictures in `train/angry/` ... and `test/angry/` .... Faces
inside the table are unpacked once, into `fer2013_faces.zip` beside it, because a Clip points at pictures.

Quirks: the labels are so noisy that people agree with them in two cases of three; FER+ has ten votes for each of
the same faces and should be preferred. The folders have no validation part. Some rows show no face, and many
faces stand twice. Nobody knows who the people are: there is no speaker.
"""

from __future__ import annotations

from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import (
    PICTURES,
    csv_rows,
    files_under,
    find_file,
    layout_error,
    manifest_corpus,
)
from affetto.data.corpora.pixels import unpack
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "for research, rights unclear"

_CODES = {
    "0": "angry",
    "1": "disgust",
    "2": "fear",
    "3": "happy",
    "4": "sad",
    "5": "surprise",
    "6": "neutral",
}
_SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
_Face = tuple[str, str, str]  # label, split, where the picture is


def read(path: str | Path) -> Corpus:
    """FER2013, official splits. Raises DataError `corpus_layout` for a folder that does not hold it.

    Raises DataError `output_unwritable` where the faces of the table cannot be unpacked.
    """
    folder = Path(path)
    return manifest_corpus(folder, "fer2013", LICENCE, labels.FER2013) or _published(folder)


def _published(folder: Path) -> Corpus:
    table = find_file([folder], ["fer2013.csv", "icml_face_data.csv"])
    faces = _tabled(table) if table else _foldered(folder)
    if not faces:
        wanted = "fer2013.csv, icml_face_data.csv or train/angry/*.jpg, or manifest.csv"
        raise layout_error("FER2013", folder, wanted)
    clips = (
        Clip(
            id=f"{split}-{Path(picture).stem}",
            vision=picture,
            labels={"emotion": labels.FER2013[label]},
            split=split,
            corpus="fer2013",
        )
        for label, split, picture in faces
    )
    return Corpus("fer2013", LICENCE, tuple(clips))


def _tabled(table: Path) -> list[_Face]:
    rows = [(row["emotion"], row["Usage"]) for row in csv_rows(table, ["emotion", "Usage", "pixels"])]
    if not all(code in _CODES and usage in _SPLITS for code, usage in rows):
        wanted = f"{table.name} with emotions from 0 to 6 and one of {', '.join(_SPLITS)}"
        raise layout_error("FER2013", table.parent, wanted)
    archive = table.with_name("fer2013_faces.zip")
    names = [f"{_SPLITS[usage]}/{row:05}.png" for row, (_, usage) in enumerate(rows)]
    if not archive.is_file():
        unpack(table, names, archive)
    return [
        (_CODES[code], _SPLITS[usage], f"{archive}#{name}")
        for (code, usage), name in zip(rows, names, strict=True)
    ]


def _foldered(folder: Path) -> list[_Face]:
    return [
        (label, split, str(picture))
        for split in ("train", "test")
        for label in _CODES.values()
        for picture in files_under(folder / split / label, PICTURES)
    ]
