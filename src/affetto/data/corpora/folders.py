"""A folder per class: recordings or pictures that somebody sorted by emotion.

Origin: yours, or whoever sorted them. Licence: not stated.

Layout: `happy/anything.wav`, `angry/deeper/anything.jpg`: a folder is named after an emotion, in any everyday or
published spelling. All may stand once more under `train/`, `validation/` (also `val`, `valid`, `dev`) and `test/`.

Quirks: nobody says who speaks, unless the option `speaker` does: a regular expression for the path below the class,
whose group is the speaker ("^([^_]+)_" for `ann_07.wav`). Without speakers no split can be trusted. A folder whose
name is no emotion is left out, and named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from affetto import labels
from affetto.data.corpora.layout import AUDIO, PICTURES, files_under, layout_error
from affetto.data.manifest import Corpus
from affetto.errors import ConfigError, DataError
from affetto.records import Clip

LICENCE = "not stated"

_SPLITS = {
    "train": "train",
    **dict.fromkeys(("dev", "val", "valid", "validation"), "validation"),
    "test": "test",
}
_SOUND = (*AUDIO, ".ogg", ".mp3")
_SIGHT = (*PICTURES, ".webp")


def read(path: str | Path, speaker: str | None = None) -> Corpus:
    """A folder per class. Raises DataError `corpus_layout` where no folder is named after an emotion.

    Raises ConfigError `option_invalid` for a `speaker` that is no regular expression with one group.
    """
    folder = Path(path)
    who = _pattern(speaker)
    clips: list[Clip] = []
    dropped: Counter[str] = Counter()
    problems: list[str] = []
    known = 0
    for split, place in _classes(folder):
        files = files_under(place, _SOUND + _SIGHT)
        try:
            emotion = labels.to_emotion(place.name)
        except DataError as error:
            problems.append(f"left out {place.relative_to(folder)}/: {error}")
            continue
        known += 1
        if emotion is None:
            dropped[place.name] += len(files)
        else:
            clips += [_clip(folder, place, file, emotion, split, who) for file in files]
    if not known:
        wanted = "folders named after emotions, such as happy/ and angry/"
        raise layout_error("a folder per class", folder, wanted)
    if who and (unnamed := sum(clip.speaker is None for clip in clips)):
        problems.append(f"{unnamed} clips have no speaker: their names do not match {speaker!r}")
    return Corpus(folder.resolve().name, LICENCE, tuple(clips), dict(dropped), tuple(problems))


def _pattern(speaker: str | None) -> re.Pattern[str] | None:
    try:
        pattern = re.compile(speaker) if speaker is not None else None
    except re.error as error:
        raise ConfigError("option_invalid", f"speaker {speaker!r}: no regular expression ({error})") from None
    if pattern is not None and pattern.groups != 1:
        message = f'speaker {speaker!r}: expected one group in round brackets, such as "^([^_]+)_"'
        raise ConfigError("option_invalid", message)
    return pattern


def _classes(folder: Path) -> Iterator[tuple[str | None, Path]]:
    """(split, folder) of every class."""
    for place in sorted(child for child in folder.glob("*") if child.is_dir()):
        split = _SPLITS.get(place.name.lower())
        if split is None:
            yield None, place
        else:
            yield from ((split, child) for child in sorted(place.glob("*")) if child.is_dir())


def _clip(
    folder: Path, place: Path, file: Path, emotion: str, split: str | None, who: re.Pattern[str] | None
) -> Clip:
    found = who.search(file.relative_to(place).as_posix()) if who else None
    sound = file.suffix.lower() in _SOUND
    return Clip(
        id=file.relative_to(folder).as_posix(),
        speech=str(file) if sound else None,
        vision=None if sound else str(file),
        speaker=found[1] if found else None,
        labels={"emotion": emotion},
        split=split,
        corpus=folder.resolve().name,
    )
