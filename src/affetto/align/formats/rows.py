"""Formats of one word a line: NIST CTM, GRID's .align and IEMOCAP's .wdseg.

```
CTM     call1 A 1.00 0.20 never 0.97      recording, channel, start, length in seconds, word, confidence
align   25000 30000 never                 start and end in samples at 25 kHz, 1000 to a picture of the video
wdseg   100 119 -31337 NEVER(2)           first and last frame of 10 ms, score, word and which pronunciation
```

What is no word is left out: silence, short pauses, sentence ends and the noises of Sphinx.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from affetto.align.formats import Format, Problem, Words
from affetto.align.formats.times import fault, parse_seconds, to_milliseconds
from affetto.records import Word

_ALIGN_RATE = 25_000  # units per second
_FRAME_RATE = 100  # frames per second

_ALIGN_SILENCE = frozenset(("sil", "sp"))
_SPHINX_FILLER = re.compile(r"<.*>|\+\+.*\+\+|\[.*\]")
_SPHINX_VARIANT = re.compile(r"\(\d+\)$")
_UTTERANCE = re.compile(r"(?i)^\s*wd:\S*?>")  # before each line where Sphinx had no file of its own to write
_WDSEG_FRAME = re.compile(r"\s*SFrm\s+EFrm\b|\s*Total score:")

#: A word, nothing (silence, a comment), or what is wrong with the line.
_Row = Word | None | str


def _read_rows(text: str, parse: Callable[[str], _Row]) -> Words:
    words: list[Word] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        row = parse(line) if line.strip() else None
        if isinstance(row, Word):
            row = fault(row.start, row.end) or row
        if isinstance(row, str):
            problems.append(Problem(number, row))
        elif row is not None:
            words.append(row)
    return Words(tuple(words), tuple(problems))


# --- CTM ----------------------------------------------------------------------------------------------------


def _read_ctm(text: str) -> Words:
    """The words of the first recording named; both channels of a call are one conversation."""
    first = ""

    def parse(line: str) -> _Row:
        nonlocal first
        if line.startswith(";;"):
            return None
        fields = line.split()
        if len(fields) not in (5, 6):
            return f"{len(fields)} fields: expected recording, channel, start, length, word [, confidence]"
        start, length = parse_seconds(fields[2]), parse_seconds(fields[3])
        if start is None or length is None:
            return f"{fields[2]} {fields[3]} are no start and length: expected seconds like 1.25 0.30"
        first = first or fields[0]
        if fields[0] != first:
            return (
                f"a word of another recording, {fields[0]!r} where the first is {first!r}: one for each file"
            )
        return Word(fields[4], start, _sum(start, length))

    return _read_rows(text, parse)


def _sum(start: float, length: float) -> float:
    """Their sum, to the microsecond: 0.1 and 0.2 are 0.3."""
    return round(start + length, 6)


def _write_ctm(words: Sequence[Word]) -> str:
    rows = []
    for word in words:
        start = to_milliseconds(word.start)
        length = to_milliseconds(word.end) - start
        rows.append(f"recording 1 {start / 1000:.3f} {length / 1000:.3f} {word.text}\n")
    return "".join(rows)


# --- GRID ---------------------------------------------------------------------------------------------------


def _read_align(text: str) -> Words:
    return _read_rows(text, _align_row)


def _align_row(line: str) -> _Row:
    fields = line.split()
    if len(fields) != 3 or not (fields[0].isdecimal() and fields[1].isdecimal()):
        return "expected start and end in samples at 25 kHz and a word, like 23750 29500 bin"
    if fields[2] in _ALIGN_SILENCE:
        return None
    return Word(fields[2], int(fields[0]) / _ALIGN_RATE, int(fields[1]) / _ALIGN_RATE)


def _write_align(words: Sequence[Word]) -> str:
    """The words, and `sil` wherever there is none before them."""
    rows = []
    covered = 0
    for word in words:
        start, end = round(word.start * _ALIGN_RATE), round(word.end * _ALIGN_RATE)
        if start > covered:
            rows.append(f"{covered} {start} sil\n")
        rows.append(f"{start} {end} {word.text}\n")
        covered = max(covered, end)
    return "".join(rows)


# --- Sphinx, as in IEMOCAP ----------------------------------------------------------------------------------


def _read_wdseg(text: str) -> Words:
    return _read_rows(text, _wdseg_row)


def _wdseg_row(line: str) -> _Row:
    line = _UTTERANCE.sub("", line)
    if _WDSEG_FRAME.match(line):
        return None
    fields = line.split()
    if len(fields) != 4 or not (fields[0].isdecimal() and fields[1].isdecimal()):
        return "expected first and last frame, score and word, like 12 34 -56789 HELLO"
    word = sphinx_word(fields[3])
    if word is None:
        return None
    # The last frame is part of the word.
    return Word(word, int(fields[0]) / _FRAME_RATE, (int(fields[1]) + 1) / _FRAME_RATE)


def sphinx_word(entry: str) -> str | None:
    """The word of an entry of Sphinx's dictionary, without its variant; None for silence and noises."""
    return None if _SPHINX_FILLER.fullmatch(entry) else _SPHINX_VARIANT.sub("", entry) or None


def _write_wdseg(words: Sequence[Word]) -> str:
    """To the frame of 10 ms; no word is shorter than one. The scores, which nobody knows, are 0."""
    rows = ["\t SFrm  EFrm    SegAScr Word\n"]
    for word in words:
        first = round(word.start * _FRAME_RATE)
        last = max(round(word.end * _FRAME_RATE) - 1, first)
        rows.append(f"\t{first:5d} {last:5d} {0:10d} {word.text}\n")
    return "".join([*rows, f" Total score: {0:11d}\n"])


CTM = Format(_read_ctm, _write_ctm)
ALIGN = Format(_read_align, _write_align)
WDSEG = Format(_read_wdseg, _write_wdseg)
