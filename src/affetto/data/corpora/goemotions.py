"""GoEmotions: English Reddit comments with any of 27 emotions, or neutral.

Origin: Demszky et al. 2020, "GoEmotions: A Dataset of Fine-Grained Emotions", ACL; the folder
`goemotions/data` of github.com/google-research/google-research. Licence: Apache-2.0.

Layout: `train.tsv`, `dev.tsv`, `test.tsv` (or `.gz`) without a header: text, comma-separated label numbers,
comment id; `emotions.txt` (some copies: `labels.txt`) names the numbers, one a line. `data/` above is fine.

Quirks: a comment may have several labels, so the emotion is always a tuple; the mapping onto the seven is the
Ekman grouping that came with the corpus. Texts with quotation marks are quoted as in CSV. Names are masked
as [NAME]. Some comments stand word for word in several official splits: `split_by_speaker` leaves them out
of training.
"""

from __future__ import annotations

from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import find_file, layout_error, text_lines, unquoted
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "Apache-2.0"

_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def read(path: str | Path) -> Corpus:
    """GoEmotions, official splits. Raises DataError `corpus_layout` for a folder that does not hold it."""
    folder = Path(path)
    wanted = "train.tsv, dev.tsv, test.tsv (or .gz) and emotions.txt with the 28 labels"
    folders = [folder, folder / "data"]
    files = {split: find_file(folders, [f"{name}.tsv"]) for name, split in _SPLITS.items()}
    names = find_file(folders, ["emotions.txt", "labels.txt"])
    if names is None or not any(files.values()):
        raise layout_error("GoEmotions", folder, wanted)
    published = [line.strip() for _, line in text_lines(names) if line.strip()]
    if not set(published) <= set(labels.GOEMOTIONS):
        raise layout_error("GoEmotions", folder, wanted)
    clips: dict[str, Clip] = {}
    problems = [f"there is no {split} split" for split, file in files.items() if file is None]
    for split, file in files.items():
        for number, line in text_lines(file) if file else ():
            clip = _clip(line, published, split)
            if clip is None or clip.id in clips:
                problems.append(f"{file.name if file else split} line {number} is not usable: {line[:60]!r}")
            else:
                clips[clip.id] = clip
    return Corpus("goemotions", LICENCE, tuple(clips.values()), problems=tuple(problems))


def _clip(line: str, published: list[str], split: str) -> Clip | None:
    """The clip of a line; None for a line that is not text, label numbers, id."""
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != 3 or not all(cells):
        return None
    text, numbers, name = unquoted(cells[0]), cells[1], cells[2]
    codes = numbers.split(",")
    if not all(code.isdecimal() and int(code) < len(published) for code in codes):
        return None
    emotions = (labels.GOEMOTIONS[published[int(code)]] for code in codes)
    return Clip(
        id=name,
        text=text,
        language="en",
        labels={"emotion": tuple(dict.fromkeys(emotions))},
        split=split,
        corpus="goemotions",
    )
