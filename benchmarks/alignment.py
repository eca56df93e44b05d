"""Forced alignment: how far the words it finds are from where they were marked.

    python benchmarks/alignment.py --data PATH

PATH holds the corpora `grid_av` (English, words marked) and `emodb` (German, syllables marked: the same English
model, by spelling). Beside the aligner stands what it falls back on, words spread over speech activity.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from affetto.align.activity import speech_probability, speech_spans
from affetto.align.clock import HOP, Grid
from affetto.align.sphinx import ForcedAligner
from affetto.align.spread import spread_words
from affetto.media import decode_audio
from affetto.records import Word

Align = Callable[[np.ndarray, str], Iterable[Word]]
Item = tuple[np.ndarray, str, list[Word]]  # samples, text, where its words are


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def grid(data: Path) -> list[Item]:
    words = defaultdict(list)
    for row in rows(data / "grid_av" / "words.csv"):
        if row["word"] not in ("sil", "sp"):
            words[row["id"]].append(Word(row["word"], float(row["start_s"]), float(row["end_s"])))
    return [
        (decode_audio(data / "grid_av" / row["path"]), row["text"], words[row["id"]])
        for row in rows(data / "grid_av" / "manifest.csv")
    ]


def emodb(data: Path, every: int = 4) -> list[Item]:
    """Every fourth whole sentence whose syllables spell its words."""
    marks = defaultdict(list)
    for row in rows(data / "emodb" / "syllables.csv"):
        marks[row["id"]].append((row["syllable"].strip("."), float(row["start_s"])))
    items = []
    for row in [row for row in rows(data / "emodb" / "manifest.csv") if row["truncated"] == "0"][::every]:
        words = from_syllables(row["text"], marks[row["id"]])
        if words:
            items.append((decode_audio(data / "emodb" / row["path"]), row["text"], words))
    return items


def from_syllables(text: str, marks: list[tuple[str, float]]) -> list[Word]:
    """Words from the starts of their syllables; [] where the two are not spelt alike."""
    words: list[Word] = []
    left = list(marks)
    for token in text.split():
        letters, spelt, start = plain(token), "", None
        while left and len(spelt) < len(letters):
            syllable, at = left.pop(0)
            start = at if start is None else start
            spelt += plain(syllable)
        if spelt != letters or start is None or not left:
            return []
        words.append(Word(token, start, left[0][1]))
    return words


def plain(text: str) -> str:
    for letter, spelling in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
        text = text.lower().replace(letter, spelling)
    return "".join(letter for letter in text if letter.isalpha())


def measure(name: str, items: list[Item], align: Align) -> None:
    steps = Grid(HOP, HOP)
    errors, landed, guessed, seconds = [], [], 0, 0.0
    began = time.process_time()
    for samples, text, truth in items:
        found = list(align(samples, text))
        seconds += len(samples) / 16_000
        guessed += any(word.estimated for word in found)
        for word, true in zip(found, truth, strict=True):
            errors.append(abs(word.start - true.start))
            landed.append(steps.step_of(middle(word)) == steps.step_of(middle(true)))
    speed = seconds / (time.process_time() - began)
    print(
        f"{name:34} {len(errors):5d} words   start off by {1000 * np.median(errors):4.0f} ms (median), "
        f"{1000 * np.mean(errors):4.0f} (mean), {1000 * np.percentile(errors, 90):4.0f} (90 %)   "
        f"right half second {np.mean(landed):6.1%}   not aligned {guessed} of {len(items)}   {speed:.0f}x real time"
    )


def middle(word: Word) -> float:
    return (word.start + word.end) / 2


def spread(samples: np.ndarray, text: str) -> tuple[Word, ...]:
    return spread_words(text, speech_spans(speech_probability(samples)) or len(samples) / 16_000)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    aligner = ForcedAligner()
    for corpus, items in (("GRID", grid(data)), ("EmoDB", emodb(data))):
        measure(f"{corpus}, aligned", items, aligner.align)
        measure(f"{corpus}, spread over activity", items, spread)


if __name__ == "__main__":
    main()
