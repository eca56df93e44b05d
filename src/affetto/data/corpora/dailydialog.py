"""DailyDialog: 13,118 English dialogues of everyday life, an emotion for each utterance.

Origin: Li et al. 2017, "DailyDialog: A Manually Labelled Multi-turn Dialogue Dataset", IJCNLP; yanran.li/dailydialog.
Licence: CC BY-NC-SA 4.0 (not for commercial use).

Layout: `train/dialogues_train.txt`, a dialogue a line, its utterances each ended by `__eou__`, and beside it
`train/dialogues_emotion_train.txt` with as many numbers: 0 no emotion, 1 anger, 2 disgust, 3 fear, 4 happiness, 5
sadness, 6 surprise. The same for `validation` and `test`. Zip files unpack into one folder more
(`train/train/`), which is found too.

Quirks: five of six utterances have no emotion, which counts as neutral: report UAR, or leave it out, as most papers
do. A few dialogues have more or fewer labels than utterances (left out), some stand in several splits. Punctuation is
set off by blanks, as published. The sentences come from textbooks. Nobody knows who speaks: two people by turns.
"""

from __future__ import annotations

from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import find_file, layout_error, manifest_corpus, text_lines
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "CC BY-NC-SA 4.0"

_CODES = {
    "0": "no emotion",
    "1": "anger",
    "2": "disgust",
    "3": "fear",
    "4": "happiness",
    "5": "sadness",
    "6": "surprise",
}


def read(path: str | Path) -> Corpus:
    """DailyDialog, official splits. Raises DataError `corpus_layout` for a folder that does not hold it."""
    folder = Path(path)
    return manifest_corpus(folder, "dailydialog", LICENCE, labels.DAILYDIALOG) or _published(folder)


def _published(folder: Path) -> Corpus:
    clips: list[Clip] = []
    problems: list[str] = []
    for split in ("train", "validation", "test"):
        folders = [folder / split, folder / split / split, folder]
        texts = find_file(folders, [f"dialogues_{split}.txt"])
        codes = find_file(folders, [f"dialogues_emotion_{split}.txt"])
        if texts is None or codes is None:
            problems.append(f"there is no {split} split")
            continue
        answers = dict(text_lines(codes))
        for number, line in text_lines(texts):
            dialogue = _dialogue(line, answers.get(number, ""), f"{split}-{number}", split)
            if line.strip() and not dialogue:
                problems.append(f"left out {texts.name} line {number}: its labels are not one an utterance")
            clips += dialogue
    if not clips:
        wanted = "train/dialogues_train.txt and train/dialogues_emotion_train.txt ... or manifest.csv"
        raise layout_error("DailyDialog", folder, wanted)
    return Corpus("dailydialog", LICENCE, tuple(clips), problems=tuple(problems))


def _dialogue(line: str, answers: str, name: str, split: str) -> list[Clip]:
    """The utterances of a dialogue; none when its labels are not one for each."""
    texts = [text.strip() for text in line.split("__eou__") if text.strip()]
    codes = answers.split()
    if len(codes) != len(texts) or not set(codes) <= set(_CODES):
        return []
    return [
        Clip(
            id=f"{name}-{turn}",
            text=text,
            group=name,
            language="en",
            labels={"emotion": labels.DAILYDIALOG[_CODES[code]]},
            split=split,
            corpus="dailydialog",
        )
        for turn, (text, code) in enumerate(zip(texts, codes, strict=True), start=1)
    ]
