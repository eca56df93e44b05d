"""XED: film subtitles in many languages with any of Plutchik's eight emotions, or neutral.

Origin: Öhman et al. 2020, "XED: A Multilingual Dataset for Sentiment Analysis and Emotion Detection", COLING;
github.com/Helsinki-NLP/XED. Licence: CC BY 4.0.

Layout: `AnnotatedData/en-annotated.tsv` and `fi-annotated.tsv` (people's labels), `neu_en.txt`, `neu_fi.txt`
(neutral lines: anything, then the sentence), `Projections/de-projections.tsv` ... (labels carried over to the
aligned subtitle). All may lie in one folder, and as `.gz`. A row is a sentence and its label numbers:
0 neutral, 1 anger, 2 anticipation, 3 disgust, 4 fear, 5 joy, 6 sadness, 7 surprise, 8 trust.

Quirks: anticipation and trust have no place among the seven; a sentence that has nothing else is dropped.
The emotion is always a tuple. Projections hold rows of the alignment by mistake (left out), CSV quoting, and
for Turkish two files: the second is the good one. Their codes br, cn, tw stand for pt, zh, zh. Neutral lines
repeat often and have lost their commas. There is no official split; the English part serves as a test set.
Projections are translations of the very sentences that English annotators read: a model trained on them has
seen the test set in another language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import find_file, layout_error, text_lines, unquoted
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "CC BY 4.0"

_LABELS = (
    "neutral", "anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust",
)  # fmt: skip
#: "3, 1" or, in one file, "{'3', '1'}".
_NUMBERS = re.compile(r"\s*\{?['0-8, ]+\}?\s*")
_ISO = {"br": "pt", "cn": "zh", "tw": "zh"}


def read(path: str | Path, languages: str | Sequence[str] = ("en",)) -> Corpus:
    """XED in the languages asked for, by the codes of its files: ("en", "de") or "en,de".

    Raises DataError `corpus_layout` for a folder without one of them.
    """
    folder = Path(path)
    clips: list[Clip] = []
    dropped: Counter[str] = Counter()
    problems: list[str] = []
    for language in languages.split(",") if isinstance(languages, str) else languages:
        file = _labelled(folder, language)
        skipped = 0
        for name, text, published in _sentences(folder, language, file):
            emotions = tuple(found for label in published if (found := labels.XED[label]))
            if not published or not text:
                skipped += 1
            elif not emotions:
                dropped["|".join(published)] += 1
            else:
                clips.append(_clip(name, text, emotions, language))
        if skipped:
            problems.append(f"left out {skipped} lines of {language} that are not a sentence and its labels")
    return Corpus("xed", LICENCE, tuple(clips), dict(dropped), tuple(problems))


def _labelled(folder: Path, language: str) -> Path:
    folders = [folder, folder / "AnnotatedData", folder / "Projections"]
    names = [f"{language}-{name}.tsv" for name in ("annotated", "projections2", "projections")]
    file = find_file(folders, names)
    if file is None:
        wanted = f"AnnotatedData/{names[0]} or Projections/{names[2]} (or .gz)"
        raise layout_error("XED", folder, wanted)
    return file


def _sentences(folder: Path, language: str, file: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(id, sentence, published labels) of every line; no labels for a line that is something else."""
    for number, line in text_lines(file):
        if number == 1 and line == "phrase\temotion":
            continue
        sentence, _, numbers = line.partition("\t")
        codes = re.findall("[0-8]", numbers) if _NUMBERS.fullmatch(numbers) else []
        published = tuple(_LABELS[int(code)] for code in sorted(set(codes)))
        yield f"{language}-{number}", unquoted(sentence), published
    neutral = find_file([folder, folder / "AnnotatedData"], [f"neu_{language}.txt"])
    for number, line in text_lines(neutral) if neutral else ():
        cells = line.split("\t")
        yield f"{language}-neutral-{number}", cells[1].strip() if len(cells) > 1 else "", ("neutral",)


def _clip(name: str, text: str, emotions: tuple[str, ...], language: str) -> Clip:
    return Clip(
        id=name,
        text=text,
        language=_ISO.get(language, language),
        labels={"emotion": emotions},
        corpus="xed",
    )
