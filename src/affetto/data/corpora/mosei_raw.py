"""CMU-MOSEI: 23,000 segments of English YouTube monologues with six emotions and sentiment.

Origin: Bagher Zadeh et al. 2018, "Multimodal Language Analysis in the Wild: CMU-MOSEI Dataset", ACL; CMU
MultiComp. Licence: research only; the videos belong to those who made them.

Layout: that of the raw release. `Raw/Transcript/Segmented/Combined/VIDEO.txt`, a segment a line,
`VIDEO___5___23.199___30.325___what is said`; `Raw/Audio/Full/WAV_16000/VIDEO.wav`, out of which the times cut the
segment; `Raw/Labels/*.csv`, an annotator's answers a row: Input.VIDEO_ID, Input.CLIP, Answer.sentiment from -3 to 3
and Answer.anger ... Answer.surprise from 0 to 3. `Raw/` may be left out. Known from the public code of its users: the
raw release itself was not at hand.

Quirks: the emotion is the set of those that some annotator saw, as papers count them; a segment in which nobody saw
one has none, which is not the same as neutral. The task `sentiment` is the mean answer. A few times run backwards or
start below zero (left out, or cut at zero). The official folds are a list of videos in the authors' SDK: there is
no split here. A video is a group; the same person may stand in several, and nobody says who.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import any_text, csv_rows, layout_error, manifest_corpus, missing_files
from affetto.data.manifest import Corpus
from affetto.errors import DataError
from affetto.records import Clip, Label

LICENCE = "research only"

_ANSWERS = ("sentiment", *labels.MOSEI)
_COLUMNS = ("Input.VIDEO_ID", "Input.CLIP", *(f"Answer.{name}" for name in _ANSWERS))
_ANSWER = re.compile(r"-?[0-3](\.\d*)?")
_LINE = re.compile(r"(.+?)___(\d+)___(-?[\d.]+)___(-?[\d.]+)___(.*)")
_Sums = Mapping[str, Mapping[str, list[float]]]  # segment -> question -> answers


def read(path: str | Path) -> Corpus:
    """CMU-MOSEI, the raw release. Raises DataError `corpus_layout` for a folder that does not hold it."""
    folder = Path(path)
    return manifest_corpus(folder, "mosei_raw", LICENCE, labels.MOSEI) or _published(folder)


def _published(folder: Path) -> Corpus:
    raw = folder / "Raw" if (folder / "Raw").is_dir() else folder
    texts = sorted((raw / "Transcript" / "Segmented" / "Combined").glob("*.txt"))
    if not texts:
        wanted = "Raw/Transcript/Segmented/Combined/*.txt and Raw/Labels/*.csv, or manifest.csv"
        raise layout_error("CMU-MOSEI", folder, wanted)
    answers = _answers(raw)
    clips: list[Clip] = []
    missing: list[str] = []
    backwards = 0
    unlabelled = 0
    for file in texts:
        recording = raw / "Audio" / "Full" / "WAV_16000" / f"{file.stem}.wav"
        if not recording.is_file():
            missing.append(recording.name)
            continue
        for segment, start, end, text in _segments(file):
            if max(start, 0.0) >= end:
                backwards += 1
            elif f"{file.stem}_{segment}" not in answers:
                unlabelled += 1
            else:
                name = f"{file.stem}_{segment}"
                clips.append(_clip(name, recording, max(start, 0.0), end, text, answers[name]))
    counts = {"whose times run backwards": backwards, "without labels": unlabelled}
    problems = (f"left out {count} segments {what}" for what, count in counts.items() if count)
    return Corpus("mosei_raw", LICENCE, tuple(clips), problems=(*problems, *missing_files(missing)))


def _answers(raw: Path) -> _Sums:
    """What the annotators answered, by segment and question; an answer that is no number is passed over."""
    answers: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for table in sorted((raw / "Labels").glob("*.csv")):
        for row in csv_rows(table, _COLUMNS):
            name = f"{row['Input.VIDEO_ID'].rpartition('/')[2]}_{row['Input.CLIP']}"
            for question in _ANSWERS:
                answer = row[f"Answer.{question}"].strip()
                if _ANSWER.fullmatch(answer):
                    answers[name][question].append(float(answer))
    return answers


def _segments(file: Path) -> Iterator[tuple[str, float, float, str]]:
    """Number, start and end in seconds, and text of each segment of a video."""
    for line in any_text(file, "latin-1").splitlines():
        match = _LINE.fullmatch(line.strip())
        if match:
            try:
                yield match[2], float(match[3]), float(match[4]), match[5].strip()
            except ValueError:
                raise DataError("corpus_layout", f"{file}: {line[:60]!r} has no times in seconds") from None


def _clip(
    name: str, recording: Path, start: float, end: float, text: str, answers: Mapping[str, list[float]]
) -> Clip:
    targets: dict[str, Label] = {}
    seen = tuple(labels.MOSEI[question] for question in labels.MOSEI if any(answers.get(question, ())))
    if seen:
        targets["emotion"] = seen
    sentiment = answers.get("sentiment")
    if sentiment:
        targets["sentiment"] = sum(sentiment) / len(sentiment)
    return Clip(
        id=name,
        speech=str(recording),
        text=text or None,
        start=start,
        end=end,
        group=recording.stem,
        language="en",
        labels=targets,
        corpus="mosei_raw",
    )
