"""AffectNet: 290,000 faces from the web with eight expressions, valence and arousal.

Origin: Mollahosseini et al. 2019, "AffectNet: A Database for Facial Expression, Valence, and Arousal Computing in
the Wild", IEEE TAFFC 10(1). Licence: on request, for research only.

Layout: as it is given out now, `train_set/images/7.jpg` and `train_set/annotations/7_exp.npy`, `7_val.npy`,
`7_aro.npy` (one number each, some written as text), and the same in `val_set/`. As it was, `training.csv` and
`validation.csv` (subDirectory_filePath, face_x, face_y, face_width, face_height, facial_landmarks, expression,
valence, arousal; some copies of the second have no header) with the pictures in `Manually_Annotated_Images/`, or
beside the tables. Expressions: 0 neutral, 1 happy, 2 sad, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt, 8 none, 9
uncertain, 10 no face. Known from the public code of its users: the corpus itself was not at hand.

Quirks: one annotator a face. The training part is what the web shows (nearly half of it happy), the validation part has
500 faces of each class: never mix them. There is no public test part. Valence and arousal are in [-1, 1], and -2
where they mean nothing. Nobody knows who the people are: there is no speaker.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from affetto import labels
from affetto.data.corpora.layout import PICTURES, find_file, layout_error, manifest_corpus, missing_files
from affetto.data.manifest import Corpus
from affetto.errors import DataError
from affetto.records import Clip, Label

LICENCE = "on request, research only"

_CODES = {
    "0": "neutral",
    "1": "happy",
    "2": "sad",
    "3": "surprise",
    "4": "fear",
    "5": "disgust",
    "6": "anger",
    "7": "contempt",
    "8": "none",
    "9": "uncertain",
    "10": "no face",
}
_SETS = {"train_set": "train", "val_set": "validation"}
_TABLES = {"training": "train", "validation": "validation"}
_COLUMNS = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
    "valence", "arousal",
)  # fmt: skip
_Face = tuple[str, str, Path | None, str, str, str]  # id, split, picture, expression, valence, arousal


def read(path: str | Path) -> Corpus:
    """AffectNet, official splits. Raises DataError `corpus_layout` for a folder that does not hold it."""
    folder = Path(path)
    return manifest_corpus(folder, "affectnet", LICENCE, labels.AFFECTNET) or _published(folder)


def _published(folder: Path) -> Corpus:
    clips: list[Clip] = []
    dropped: Counter[str] = Counter()
    missing: list[str] = []
    unreadable = 0
    for name, split, picture, code, valence, arousal in chain(_arrays(folder), _tables(folder)):
        try:
            label = _CODES[code]
            numbers = {"valence": float(valence), "arousal": float(arousal)}
        except (ValueError, KeyError):
            unreadable += 1
            continue
        emotion = labels.AFFECTNET[label]
        if emotion is None:
            dropped[label] += 1
        elif picture is None:
            missing.append(name)
        else:
            known: dict[str, Label] = {task: value for task, value in numbers.items() if -1 <= value <= 1}
            clips.append(
                Clip(
                    name,
                    vision=str(picture),
                    labels={"emotion": emotion, **known},
                    split=split,
                    corpus="affectnet",
                )
            )
    if not clips and not dropped:
        wanted = "train_set/images/*.jpg and train_set/annotations/*.npy, or training.csv, or manifest.csv"
        raise layout_error("AffectNet", folder, wanted)
    strange = (f"left out {unreadable} whose labels cannot be read",) if unreadable else ()
    return Corpus("affectnet", LICENCE, tuple(clips), dict(dropped), (*strange, *missing_files(missing)))


def _arrays(folder: Path) -> Iterator[_Face]:
    for part, split in _SETS.items():
        for file in sorted((folder / part / "annotations").glob("*_exp.npy")):
            name = file.stem.removesuffix("_exp")
            picture = find_file([folder / part / "images"], [name + suffix for suffix in PICTURES])
            valence, arousal = (_number(file.with_name(f"{name}_{kind}.npy")) for kind in ("val", "aro"))
            yield f"{split}-{name}", split, picture, _number(file), valence, arousal


def _number(file: Path) -> str:
    """The number that an array holds, as text; "" where there is none."""
    try:
        return str(np.load(file, allow_pickle=False).reshape(-1)[0])
    except (OSError, ValueError, IndexError, EOFError):
        return ""


def _tables(folder: Path) -> Iterator[_Face]:
    for table, split in _TABLES.items():
        path = folder / f"{table}.csv"
        for row in _rows(path) if path.is_file() else ():
            inside = row["subDirectory_filePath"]
            picture = find_file([folder / "Manually_Annotated_Images", folder], [inside])
            yield (
                f"{split}-{Path(inside).stem}", split, picture, row["expression"], row["valence"], row["arousal"],
            )  # fmt: skip


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for cells in csv.reader(file):
                if len(cells) == len(_COLUMNS) and cells[0] != _COLUMNS[0]:
                    yield dict(zip(_COLUMNS, cells, strict=True))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError("corpus_layout", f"cannot read {path}: {error}") from None
