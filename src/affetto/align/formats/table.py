"""CSV with a header: a word, its start and its end, in seconds, in columns of any order.

The word stands under `word`, `text` or `token`, the times under `start` and `end` (also `start_s`, `end_s`), and
`estimated` says yes where they are. Comma, semicolon or tab divide; where a semicolon does, times may have a
decimal comma. Where rows name their recording (`id`, `file` or `recording`), those of the first are read.

The .tsv that Whisper writes is read too: its header is `start end text`, its times are milliseconds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from affetto.align.formats import Format, Problem, Words, WrongFormat
from affetto.align.formats.times import fault, parse_seconds
from affetto.align.spread import timed_words
from affetto.records import Word

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "word": ("word", "text", "token"),
    "start": ("start", "start_s", "begin"),
    "end": ("end", "end_s", "stop"),
    "estimated": ("estimated",),
    "recording": ("id", "file", "recording"),
}
_NEEDED = ("word", "start", "end")
_SILENCE = frozenset(("", "sil", "sp"))
_WHISPER_HEADER = ["start", "end", "text"]


def _read(text: str) -> Words:
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip().lower() for name in next(table, [])]
        columns = {
            column: next((names.index(name) for name in known if name in names), None)
            for column, known in _COLUMNS.items()
        }
        missing = [column for column in _NEEDED if columns[column] is None]
        if missing:
            raise WrongFormat(f"its first line names no column {missing[0]!r}: expected word, start and end")
        milliseconds = delimiter == "\t" and names == _WHISPER_HEADER
        words: list[Word] = []
        problems: list[Problem] = []
        for number, row in _rows(table, columns, len(names), problems):
            found = _row_words(row, milliseconds)
            if isinstance(found, str):
                problems.append(Problem(number, found))
            else:
                words.extend(found)
    except csv.Error as error:
        raise WrongFormat(f"line {table.line_num}: {error}") from None
    return Words(tuple(words), tuple(sorted(problems, key=lambda problem: problem.line)))


_Row = dict[str, str]


def _rows(
    table: Iterator[list[str]], columns: Mapping[str, int | None], width: int, problems: list[Problem]
) -> Iterator[tuple[int, _Row]]:
    """The rows of the first recording, each with the number of its line."""
    first: str | None = None
    number = 2
    for cells in table:
        line, number = number, table.line_num + 1  # type: ignore[attr-defined]
        if len(cells) != width:
            if any(cells):
                problems.append(Problem(line, f"{len(cells)} cells where the header has {width}"))
            continue
        row = {name: cells[place].strip() for name, place in columns.items() if place is not None}
        recording = row.get("recording")
        first = recording if first is None else first
        if recording == first:
            yield line, row
        else:
            problems.append(
                Problem(line, f"a word of another recording, {recording!r} where the first is {first!r}")
            )


def _row_words(row: _Row, milliseconds: bool) -> Sequence[Word] | str:
    """The words of a row, or what is wrong with it."""
    if row["word"].lower() in _SILENCE:
        return ()
    start, end = parse_seconds(row["start"]), parse_seconds(row["end"])
    if start is None or end is None:
        return f"{row['start']!r} to {row['end']!r}: expected seconds like 1.25"
    if milliseconds:
        start, end = start / 1000, end / 1000
    wrong = fault(start, end)
    if wrong:
        return f"{row['word']!r} {wrong}"
    return timed_words(
        row["word"], start, end, estimated=row.get("estimated", "").lower() in ("yes", "true", "1")
    )


def _write(words: Sequence[Word]) -> str:
    file = io.StringIO(newline="")
    table = csv.writer(file, lineterminator="\n")
    table.writerow(("word", "start", "end", "estimated"))
    for word in words:
        table.writerow(
            (word.text, repr(float(word.start)), repr(float(word.end)), "yes" if word.estimated else "")
        )
    return file.getvalue()


CSV = Format(_read, _write)
