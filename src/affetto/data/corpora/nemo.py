"""nEMO: Polish actors saying the same ninety sentences in six emotions.

Origin: Christop 2024, "nEMO: Dataset of Emotional Speech in Polish", LREC-COLING; github.com/amu-cai/nEMO.
Licence: CC BY-NC-SA 4.0 (not for commercial use).

Layout: `data.tsv` with the columns file_id, emotion, raw_text, normalized_text, speaker_id, gender, age, and
`samples/WR0_surprised_64.wav` (speaker, emotion, sentence).

Quirks: speaker_id is padded with spaces. Some speakers recorded only a part (MK0 has no surprise). There is
no disgust.
The sentences are the same in every emotion: the text is no evidence.
"""

from __future__ import annotations

from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import layout_error, manifest_corpus, text_lines, unquoted
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "CC BY-NC-SA 4.0"

_COLUMNS = ["file_id", "emotion", "raw_text", "normalized_text", "speaker_id", "gender", "age"]


def read(path: str | Path) -> Corpus:
    """nEMO. Raises DataError `corpus_layout` for a folder that does not hold it."""
    folder = Path(path)
    return manifest_corpus(folder, "nemo", LICENCE, labels.NEMO, scripted=True) or _published(folder)


def _published(folder: Path) -> Corpus:
    table = folder / "data.tsv"
    wanted = f"data.tsv with the columns {', '.join(_COLUMNS)} and samples/*.wav, or manifest.csv"
    if not table.is_file():
        raise layout_error("nEMO", folder, wanted)
    lines = text_lines(table)
    if next(lines, (1, ""))[1].split("\t") != _COLUMNS:
        raise layout_error("nEMO", folder, wanted)
    clips: list[Clip] = []
    problems: list[str] = []
    missing = 0
    for number, line in lines:
        cells = [unquoted(cell) for cell in line.split("\t")]
        if len(cells) != len(_COLUMNS) or cells[1] not in labels.NEMO:
            problems.append(f"data.tsv line {number} is not a row of nEMO: {line[:60]!r}")
        elif not (folder / "samples" / cells[0]).is_file():
            missing += 1
        else:
            clips.append(_clip(folder, cells))
    if not clips:
        raise layout_error("nEMO", folder, wanted)
    if missing:
        problems.append(f"left out {missing} rows whose recording is not in samples/")
    return Corpus("nemo", LICENCE, tuple(clips), problems=tuple(problems))


def _clip(folder: Path, cells: list[str]) -> Clip:
    file, label, text, normalized, speaker, gender, age = cells
    name = Path(file).stem
    return Clip(
        id=name,
        speech=str(folder / "samples" / file),
        text=text,
        speaker=speaker,
        gender=gender,
        language="pl",
        scripted=True,
        labels={"emotion": labels.NEMO[label]},
        corpus="nemo",
        attributes={"age": age, "normalized_text": normalized, "sentence": name.rpartition("_")[2]},
    )
