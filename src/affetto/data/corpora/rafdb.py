"""RAF-DB: 15,339 faces from the web with seven basic expressions.

Origin: Li et al. 2017, "Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition
in the Wild", CVPR; www.whdeng.cn/raf. Licence: on request, for research only.

Layout: `basic/EmoLabel/list_patition_label.txt` (so spelt; a line is `train_00001.jpg 5`; 1 surprise, 2 fear, 3
disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral) and `basic/Image/aligned/train_00001_aligned.jpg`, or the
whole pictures in `basic/Image/original/train_00001.jpg`. `basic/` may be left out. Known from the public code of its
users: the corpus itself was not at hand.

Quirks: the label is what some forty annotators agreed on; their shares are not read. Two faces in five are happy,
one in forty afraid: report UAR. Nobody knows who the people are: there is no speaker.
"""

from __future__ import annotations

from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import find_file, layout_error, manifest_corpus, missing_files, text_lines
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "on request, research only"

_CODES = {
    "1": "surprise",
    "2": "fear",
    "3": "disgust",
    "4": "happiness",
    "5": "sadness",
    "6": "anger",
    "7": "neutral",
}


def read(path: str | Path) -> Corpus:
    """RAF-DB, basic expressions, official splits.

    Raises DataError `corpus_layout` for a folder that does not hold it.
    """
    folder = Path(path)
    return manifest_corpus(folder, "rafdb", LICENCE, labels.RAF_DB) or _published(folder)


def _published(folder: Path) -> Corpus:
    table = find_file(
        [folder / "basic" / "EmoLabel", folder / "EmoLabel"],
        ["list_patition_label.txt", "list_partition_label.txt"],
    )
    if table is None:
        wanted = "basic/EmoLabel/list_patition_label.txt and basic/Image/aligned/*.jpg, or manifest.csv"
        raise layout_error("RAF-DB", folder, wanted)
    images = table.parents[1] / "Image"
    clips: list[Clip] = []
    problems: list[str] = []
    missing: list[str] = []
    for number, line in text_lines(table):
        name, _, code = line.strip().partition(" ")
        stem, split = Path(name).stem, name.partition("_")[0]
        picture = find_file([images / "aligned", images / "original"], [f"{stem}_aligned.jpg", f"{stem}.jpg"])
        if code not in _CODES or split not in ("train", "test"):
            problems.append(f"{table.name} line {number} is not a picture and a label: {line[:60]!r}")
        elif picture is None:
            missing.append(name)
        else:
            clips.append(
                Clip(
                    id=stem,
                    vision=str(picture),
                    labels={"emotion": labels.RAF_DB[_CODES[code]]},
                    split=split,
                    corpus="rafdb",
                )
            )
    return Corpus("rafdb", LICENCE, tuple(clips), problems=(*problems, *missing_files(missing)))
