"""Files of words with times: one module for each family of formats, one line for each format.

A format is a `Format`: a function from the text of a file to `Words`, and one from words to text. A new one is
a module and a line in `FORMATS`; `affetto.align.words` tells formats apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from affetto.records import Word

FORMATS: Mapping[str, str] = {
    "srt": "affetto.align.formats.subtitles:SRT",
    "vtt": "affetto.align.formats.subtitles:VTT",
    "textgrid": "affetto.align.formats.textgrid:LONG",
    "textgrid-short": "affetto.align.formats.textgrid:SHORT",
    "ctm": "affetto.align.formats.rows:CTM",
    "align": "affetto.align.formats.rows:ALIGN",
    "wdseg": "affetto.align.formats.rows:WDSEG",
    "json": "affetto.align.formats.transcripts:PLAIN",
    "whisper": "affetto.align.formats.transcripts:WHISPER",
    "csv": "affetto.align.formats.table:CSV",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that could not be used, counted from 1, and why."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Words:
    """What a file of words holds: the words, and the lines that could not be used."""

    words: tuple[Word, ...] = ()
    problems: tuple[Problem, ...] = ()


class WrongFormat(Exception):
    """The file is not of the format that it was read as; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is read and written. `read` raises WrongFormat for a file that is not of this format."""

    read: Callable[[str], Words]
    write: Callable[[Sequence[Word]], str]
