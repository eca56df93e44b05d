"""Words with times for `affetto predict`, and what is written of a timeline."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from affetto.cli.item import Item
from affetto.errors import ConfigError, DataError
from affetto.media.limits import LONG_AUDIO
from affetto.records import Prediction, Word

if TYPE_CHECKING:
    from affetto.align.formats import Problem
    from affetto.predictor.inputs import Decoder

_SHOWN_PROBLEMS = 5


def with_words(item: Item, file: str | None, recogniser: str | None, decoder: Decoder | None) -> Item:
    """The item with the words of a file, or those that a recogniser hears in it.

    What could not be used of the file is told on stderr. Raises ConfigError `option_invalid` for a recogniser
    without a recording, and what reading and recognising raise.
    """
    words: Sequence[Word] = ()
    if file is not None:
        from affetto.align.words import read_words

        found = read_words(file)
        _tell(file, found.problems)
        if not found.words:
            _note(f"{file}: holds no words")
        words = found.words
    elif recogniser is not None:
        words = _recognised(item, recogniser, decoder)
    return replace(item, clip=replace(item.clip, words=tuple(words))) if words else item


def check_timelines(paths: Sequence[Path]) -> None:
    """Refuse a file name that no timeline can be written to, before the work is done."""
    if paths:
        from affetto.timeline import format_of

        for path in paths:
            format_of(path)


def write_timeline(prediction: Prediction, item: Item, path: Path, decoder: Decoder | None) -> None:
    """Write the timeline of an item; a page gets its sound as well."""
    from affetto.timeline import write_timeline as write

    if not prediction.segments:
        raise DataError(
            "nothing_to_predict", f"no timeline to write to {path}: give a recording, or words with times"
        )
    source = item.data or item.clip.speech
    if path.suffix.lower() != ".html" or source is None or decoder is None or prediction.duration is None:
        write(prediction, path)
    else:
        write(prediction, path, audio=decoder.iter_audio(source, limits=LONG_AUDIO), link=_link(item, path))
    _note(f"wrote {path}")


def _link(item: Item, page: Path) -> str | None:
    """Where the recording lies, seen from the page; None for bytes, and on another drive."""
    try:
        return None if item.data else os.path.relpath(str(item.clip.speech), page.parent)
    except ValueError:
        return None


def _recognised(item: Item, name: str, decoder: Decoder | None) -> Sequence[Word]:
    from affetto.align.transcribe import load_recogniser

    source = item.data or item.clip.speech
    if source is None or decoder is None:
        raise ConfigError("option_invalid", f"--transcribe {name}: give a recording to recognise")
    import numpy as np

    recogniser = load_recogniser(name)
    waveform = np.concatenate(list(decoder.iter_audio(source, limits=LONG_AUDIO)))
    words = recogniser.transcribe(waveform, item.clip.language)
    if name == "pocketsphinx":
        _note(
            "pocketsphinx gets about every second word wrong, and wrong words count: use a Whisper for real work"
        )
    return words


def _tell(file: str, problems: Sequence[Problem]) -> None:
    lines = [f"{file}: {problem}" for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        lines.append(f"{file}: {len(problems) - _SHOWN_PROBLEMS} more lines could not be used")
    for line in lines:
        _note(line)


def _note(line: str) -> None:
    from affetto.cli.show import printable

    print(printable(line), file=sys.stderr)
