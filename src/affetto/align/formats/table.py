"""CSV with a header: a word, its start and its end, in seconds, in columns of any order.

The word stands under `word`, `text` or `token`, the times under `start` and `end` (also `start_s`, `end_s`),
whether they are estimated under `estimated`. Comma, semicolon and tab divide; where a semicolon does, times may
have a decimal comma. Rows of several recordings (`id`, `file` or `recording`) are those of the first.

The .tsv that Whisper writes is read too: its header is `start end text` with tabs, its times are milliseconds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from affetto.align.formats import Words

_WORD = ("word", "text", "token")
_START = ("start", "start_s", "start_seconds", "begin")
_END = ("end", "end_s", "end_seconds", "stop")
_RECORDING = ("id", "file", "recording")
_SILENCE = frozenset(("", "sil", "sp"))


def _read(text: str) -> Words:
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    # What the reader counts are lines, so that a word with a line break keeps the count.
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip().lower() for name in next(table, [])]
        columns = {key: _column(names, known) for key, known in (("word", _WORD), ("start", _START), ("end", _END))}
        columns["estimated"] = names.index("estimated") if "estimated" in names else None
        columns["recording"] = _column(names, _RECORDING)
        missing = [key for key in ("word", "start", "end") if columns[key] is None]
        if missing:
            raise ValueError(f"no column {missing[0]!r} in its first line: expected word, start and end")
        unit = 0.001 if delimiter == "\t" and names == ["start", "end", "text"] else 1.0
        return _rows(table, columns, unit)
    except csv.Error as error:
        raise ValueError(f"line {table.line_num}: {error}") from None


def _column(names: Sequence[str], known: Sequence[str]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)
