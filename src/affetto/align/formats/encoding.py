"""Bytes to text: subtitles and alignments come in every encoding that was ever the default of an editor."""

from __future__ import annotations

import codecs

from affetto.align.formats import Problem

# The UTF-32 mark starts with the UTF-16 one, so it is tried first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(data: bytes) -> tuple[str, Problem | None]:
    """The text with line ends as "\\n", and a problem where its encoding had to be guessed."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _lines(data[len(mark) :].decode(name, errors="replace")), None
    unmarked = _unmarked_utf16(data)
    if unmarked:
        return _lines(data.decode(unmarked, errors="replace")), None
    try:
        return _lines(data.decode("utf-8")), None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = Problem(1, f"not UTF-8 (line {line}): read as Windows-1252; save it as UTF-8")
        return _lines(data.decode("windows-1252", errors="replace")), problem


def _unmarked_utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of its Latin letters is zero."""
    head = data[:400]
    if len(head) < 4 or len(data) % 2:
        return None
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if zeros.count(0) > 0.7 * len(zeros) and head.count(0) <= len(zeros):
            return name
    return None


def _lines(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
