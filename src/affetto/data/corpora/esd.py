"""ESD: ten Chinese and ten English speakers saying 350 sentences in five emotions.

Origin: Zhou et al. 2021, "Seen and Unseen Emotional Style Transfer for Voice Conversion with a New Emotional
Speech Dataset", ICASSP; github.com/HLTSingapore/Emotional-Speech-Data. Licence: for research only.

Layout: `0011/Angry/train/0011_000351.wav` (also `evaluation`, `test`; some copies lack that folder), and
`0011/0011.txt` with a line for each recording: name, tab, sentence, tab, emotion. Speakers 0001 to 0010 speak
Chinese, 0011 to 0020 English.

Quirks: the official splits share all speakers and sentences, being made for voice conversion; training
refuses them, so split by speaker instead. The tables of sentences come in UTF-8, UTF-16, GB 2312 and Latin-1, and
some of their lines are torn: such a clip has no text. The sentences are the same in every emotion: the text is
no evidence.
"""

from __future__ import annotations

import re
from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import AUDIO, any_text, coded_files, files_under, scripted_speech
from affetto.data.manifest import Corpus
from affetto.records import Clip

LICENCE = "research only"

_MEN = frozenset((4, 5, 6, 8, 10, 11, 12, 13, 14, 20))
_SENTENCES = 350
_SPLITS = {"train": "train", "evaluation": "validation", "test": "test"}
_NAME = re.compile(r"(00[01]\d|0020)_(\d{6})")


def read(path: str | Path) -> Corpus:
    """ESD, official splits. Raises DataError `corpus_layout` for a folder that does not hold it."""
    return scripted_speech(
        Path(path), "esd", LICENCE, labels.ESD, _published, "0011/Angry/train/0011_000351.wav"
    )


def _published(folder: Path) -> tuple[list[Clip], tuple[str, ...]]:
    files, problems = coded_files(files_under(folder, AUDIO), _NAME)
    texts = _texts(folder)
    clips = [
        _clip(file, code, file.parents[place].name.lower(), texts.get(file.stem))
        for file, code in files
        for place in (0, 1)
        if file.parents[place].name.lower() in labels.ESD
    ]
    silent = sum(clip.text is None for clip in clips)
    return clips, (*problems, f"{silent} clips have no text") if silent else problems


def _texts(folder: Path) -> dict[str, str]:
    """What each recording says, by its name."""
    texts: dict[str, str] = {}
    for table in sorted(folder.rglob("00[012][0-9].txt")):
        chinese = int(table.stem) <= 10
        for line in any_text(table, "gb18030" if chinese else "latin-1").splitlines():
            cells = [cell.strip() for cell in line.split("\t")]
            if len(cells) == 3 and _NAME.fullmatch(cells[0]) and cells[1]:
                texts[cells[0]] = cells[1]
    return texts


def _clip(file: Path, code: re.Match[str], label: str, text: str | None) -> Clip:
    speaker, number = code.groups()
    sentence = (int(number) - 1) % _SENTENCES + 1
    return Clip(
        id=file.stem,
        speech=str(file),
        text=text,
        speaker=speaker,
        gender="male" if int(speaker) in _MEN else "female",
        language="zh" if int(speaker) <= 10 else "en",
        scripted=True,
        labels={"emotion": labels.ESD[label]},
        split=_SPLITS.get(file.parent.name.lower()),
        corpus="esd",
        attributes={"sentence": str(sentence)},
    )
