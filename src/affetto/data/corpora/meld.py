"""MELD: 13,708 lines of the series Friends with seven emotions and three sentiments, as films.

Origin: Poria et al. 2019, "MELD: A Multimodal Multi-Party Dataset for Emotion Recognition in Conversations",
ACL; github.com/declare-lab/MELD. Licence: annotations GPL-3.0; the films belong to their studio.

Layout: `train_sent_emo.csv`, `dev_sent_emo.csv`, `test_sent_emo.csv` (in the repository under `data/MELD/`), and the
films `train_splits/dia0_utt0.mp4`, `dev_splits_complete/`, `output_repeated_splits_test/`. Without the films, or
without one, the line is read as text.

Quirks: `dia125_utt3` of train cannot be decoded and `dia110_utt7` of dev is missing. Two lines of test last minutes
by their times and one no time at all: their films show something else. Such lines keep their text, and are
named. StartTime and EndTime are those of the episode, for the films are cut already; they stand in the attributes
`episode_start` and `episode_end`, in seconds. Dialogues are numbered anew in each split. The six friends are in every
split, and training refuses that: the official splits measure known voices. Laughter of an audience lies over many
lines. A film gives its sound, not its picture, which shows several people; it needs the `[video]` extra.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from affetto import labels
from affetto.align.formats.times import parse_clock
from affetto.data.corpora.layout import csv_rows, find_file, layout_error, manifest_corpus
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "annotations GPL-3.0; films not free"

_SPLITS = {
    "train": ("train", "train_splits"),
    "dev": ("validation", "dev_splits_complete"),
    "test": ("test", "output_repeated_splits_test"),
}
_COLUMNS = (
    "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode",
    "StartTime", "EndTime",
)  # fmt: skip
_UNDECODABLE = ("train-dia125_utt3",)
_LONGEST = 60.0  # seconds; the longest line that is one takes 41


def read(path: str | Path) -> Corpus:
    """MELD, official splits. Raises DataError `corpus_layout` for a folder that does not hold it."""
    folder = Path(path)
    return manifest_corpus(folder, "meld", LICENCE, labels.MELD) or _published(folder)


def _published(folder: Path) -> Corpus:
    folders = [folder, folder / "data" / "MELD"]
    clips: list[Clip] = []
    problems: list[str] = []
    for name, (split, films) in _SPLITS.items():
        table = find_file(folders, [f"{name}_sent_emo.csv"])
        if table is None:
            problems.append(f"there is no {split} split")
            continue
        filmed = (folder / films).is_dir()
        if not filmed:
            problems.append(f"there is no {films}/: the {split} split is text only")
        for row in csv_rows(table, _COLUMNS):
            item = f"{name}-dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            if row["Emotion"] not in labels.MELD:
                problems.append(f"left out {item}: its emotion is {row['Emotion']!r}")
                continue
            film = folder / films / f"{item.partition('-')[2]}.mp4"
            fault = _fault(item, film, row) if filmed else None
            if fault:
                problems.append(f"{item} is text only: {fault}")
            clips.append(_clip(item, split, None if fault or not filmed else film, row))
    if not clips:
        raise layout_error("MELD", folder, "train_sent_emo.csv and train_splits/*.mp4, or manifest.csv")
    return Corpus("meld", LICENCE, tuple(clips), problems=tuple(problems))


def _fault(item: str, film: Path, row: Mapping[str, str]) -> str | None:
    """Why a film cannot stand for its line; None when it can."""
    if not film.is_file():
        return f"{film.parent.name}/{film.name} is missing"
    if item in _UNDECODABLE:
        return "its film cannot be decoded"
    start, end = _times(row)
    if start is None or end is None or not 0 < end - start <= _LONGEST:
        return f"its times are {row['StartTime']} to {row['EndTime']}"
    return None


def _times(row: Mapping[str, str]) -> tuple[float | None, float | None]:
    return parse_clock(row["StartTime"]), parse_clock(row["EndTime"])


def _clip(item: str, split: str, film: Path | None, row: Mapping[str, str]) -> Clip:
    attributes = {"season": row["Season"], "episode": row["Episode"]}
    for name, seconds in zip(("episode_start", "episode_end"), _times(row), strict=True):
        if seconds is not None:
            attributes[name] = f"{seconds:g}"
    return Clip(
        id=item,
        speech=str(film) if film else None,
        text=row["Utterance"],
        speaker=row["Speaker"],
        group=item.partition("_")[0],
        language="en",
        labels={"emotion": labels.MELD[row["Emotion"]], "sentiment": row["Sentiment"]},
        split=split,
        corpus="meld",
        attributes=attributes,
    )
