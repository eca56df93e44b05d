"""Words with times, in and out of files: which format it is, which text the bytes are, and every bad line told.

| format | suffix | keeps times to | says which are estimated |
|---|---|---|---|
| `srt`, `vtt` | .srt .vtt | 1 ms | no |
| `textgrid`, `textgrid-short` | .TextGrid | exactly | no |
| `ctm` | .ctm | 1 ms | no |
| `align` (GRID) | .align | 1/25000 s | no |
| `wdseg` (IEMOCAP, Sphinx) | .wdseg | 10 ms | no |
| `json`, `whisper` | .json | exactly | yes |
| `csv` | .csv (read: also .tsv) | exactly | yes |

A word has no spaces in it: entries of several words are divided, their times spread by characters and marked
`estimated`. `affetto.align.formats` has a module for each family of formats, with pictures of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import cast

from affetto.align.formats import FORMATS, Format, Problem, Words, WrongFormat
from affetto.align.formats.encoding import decode
from affetto.align.spread import spread_words, timed_words
from affetto.errors import ConfigError, DataError
from affetto.files import write_whole
from affetto.records import Word

__all__ = ["FORMATS", "Problem", "Words", "read_words", "spread_words", "write_words"]

MAX_BYTES = 64 * 2**20  # a hundred hours of words

#: Suffix to format; where a format has none of its own (`whisper`), it is named.
_SUFFIXES = {
    ".srt": "srt",
    ".vtt": "vtt",
    ".textgrid": "textgrid",
    ".ctm": "ctm",
    ".align": "align",
    ".wdseg": "wdseg",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
}
#: What gives a format away, tried in this order. The first four are beyond doubt, whatever the suffix says.
_SIGNS = (
    ("vtt", re.compile(r"WEBVTT(?:[ \t\n]|$)")),
    ("textgrid", re.compile(r'\s*(?:File type\s*=\s*)?"ooTextFile')),
    ("json", re.compile(r"\s*[\[{]\s*[\[{\"\]}]")),
    ("wdseg", re.compile(r"[^\n]*\bSFrm\s+EFrm\b")),
)
_HINTS = (
    ("srt", re.compile(r"(?m)^[^\n]*\d\s*-->\s*\d")),
    ("align", re.compile(r"(?m)\A\s*\d+[ \t]+\d+[ \t]+\S+[ \t]*$")),
    ("ctm", re.compile(r"(?m)^(?!;;)\S+[ \t]+\S+[ \t]+[\d.]+[ \t]+[\d.]+[ \t]+\S+(?:[ \t]+[\d.]+)?[ \t]*$")),
    ("csv", re.compile(r"(?i)\A\s*[^\n]*\b(?:start|begin)(?:_s)?\b")),
)


def read_words(source: str | Path | bytes, format: str | None = None) -> Words:
    """The words of a file, given as path or as its bytes, in order of their starts, and the lines that could
    not be used.

    `format` is one of `FORMATS`; None tells it by content, then by suffix. UTF-8, UTF-16 and UTF-32 are told
    by their marks; what is no UTF-8 is read as Windows-1252, and that is a problem of line 1.

    Raises DataError `words_not_found`, and `words_invalid` for a file that is of no known format, not of the
    one named, or larger than 64 MiB; ConfigError `option_invalid` for a format that does not exist.
    """
    name, data = _content(source)
    text, doubt = decode(data)
    if "\0" in text:
        raise _invalid(name, "not a text file: expected subtitles, or words with times")
    chosen = format or _told(text, Path(name).suffix.lower())
    if chosen is None:
        raise _invalid(name, f"of no known format: name it, one of {', '.join(FORMATS)}")
    try:
        found = _format(chosen).read(text)
    except WrongFormat as error:
        raise _invalid(name, f"no {chosen} file: {error}") from None
    problems = found.problems if doubt is None else (doubt, *found.problems)
    return Words(tuple(sorted(_divided(found.words), key=lambda word: (word.start, word.end))), problems)


def write_words(words: Iterable[Word], path: str | Path, format: str | None = None) -> None:
    """Write words in order of their starts; `format` None goes by the suffix of `path`. UTF-8.

    The file appears whole or not at all. Raises ConfigError `option_invalid` for an unknown format or suffix
    and DataError `output_unwritable`.
    """
    path = Path(path)
    chosen = format or _SUFFIXES.get(path.suffix.lower())
    if chosen is None:
        known = ", ".join(_SUFFIXES)
        raise ConfigError("option_invalid", f"{path.name} is no name for words: expected one of {known}")
    ordered = sorted(_divided(words), key=lambda word: (word.start, word.end))
    text = _format(chosen).write(ordered)
    write_whole(path, text.encode("utf-8", errors="replace"))


def _content(source: str | Path | bytes) -> tuple[str, bytes]:
    """The name for messages, and the bytes."""
    if isinstance(source, bytes):
        name, data = "<bytes>", source
    else:
        name = os.fspath(source)
        try:
            with open(name, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
            raise DataError("words_not_found", f"{name}: there is no such file; check the path") from None
        except OSError as error:
            raise _invalid(name, f"cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise _invalid(name, f"more than {MAX_BYTES // 2**20} MiB, far more than words take")
    return name, data


def _told(text: str, suffix: str) -> str | None:
    told = next((name for name, sign in _SIGNS if sign.match(text)), None)
    return told or _SUFFIXES.get(suffix) or next((name for name, hint in _HINTS if hint.search(text)), None)


def _format(name: str) -> Format:
    if name not in FORMATS:
        known = ", ".join(FORMATS)
        raise ConfigError("option_invalid", f"unknown format of words {name!r}: expected one of {known}")
    module, _, attribute = FORMATS[name].partition(":")
    return cast(Format, getattr(import_module(module), attribute))


def _divided(words: Iterable[Word]) -> Iterable[Word]:
    for word in words:
        yield from timed_words(word.text, word.start, word.end, estimated=word.estimated)


def _invalid(name: str, message: str) -> DataError:
    return DataError("words_invalid", f"{name}: {message}")
