"""Manifests: a table of Clips as CSV, JSONL or Parquet. Nothing here opens a medium.

A manifest has one row per clip. Every column is optional, but a row needs something to read:

| column | holds |
|---|---|
| `id` | a name, unique in the file; without it the path (and start) is the name |
| `path` | a file: `.jpg .jpeg .png .webp` is vision, `.npz#index` or `.npy` is features, the rest speech |
| `speech` (`audio`), `vision` (`image`) | a file of that modality; `archive.zip#member` points into a zip |
| `features` | a precomputed array, kept in `attributes["features"]`: no medium |
| `features:speech`, `:text`, `:vision` | of one modality: `features.npz#array`, or a row, `features.npz#array/7` |
| `text`, `words` | what was said; words with times: a list of {"text", "start", "end"}, in CSV as JSON text |
| `speaker`, `group`, `gender`, `language`, `corpus` | who, in which dialogue, ... |
| `split` | train, validation (also dev, val, valid), test |
| `start`, `end` | the part of the media that is meant, in seconds |
| `scripted` | yes where the words were given to the speaker: such text is no evidence |
| `emotion` | a label, in any everyday or published spelling; a set is joined by `\\|` or `,` ("joy\\|") |
| `votes_LABEL` | how many annotators chose LABEL; votes beat `emotion`, give `attributes["majority"]` and `["votes"]` |
| `label:TASK`, `value:TASK`, `votes:TASK:LABEL` | a class, a number, votes of any other task |
| anything else | kept as text in `Clip.attributes` |

Paths are relative to the manifest. A label that some corpus publishes but that has no place among the seven
(boredom, contempt) drops its clip, and is counted; a label that nobody publishes is a problem of its row.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from affetto.data.columns import (
    MODALITY_COLUMNS,
    LabelMap,
    NoPlace,
    Row,
    clip_from_row,
    column_name,
    row_from_clip,
)
from affetto.errors import ConfigError, DataError
from affetto.files import write_whole
from affetto.labels import PUBLISHED
from affetto.records import Clip

_SHOWN_PROBLEMS = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be used: where it stands ("line 7"), the error's code and its message."""

    place: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest holds: its clips, the rows that cannot be used, dropped label -> number of clips."""

    clips: tuple[Clip, ...]
    problems: tuple[Problem, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus as its reader found it.

    `dropped` counts the clips left out because their label has no place among the seven ("trust|anticipation"
    where a clip had both); `problems` says in words what else was left out or should be known.
    """

    name: str
    licence: str
    clips: tuple[Clip, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_manifest(path: str | Path, *, label_map: LabelMap = PUBLISHED) -> list[Clip]:
    """The clips of a manifest, every row of which must be usable.

    Raises one DataError that names the first bad rows and how many there are: `label_unknown` or
    `clip_duplicate` where all have that fault, else `manifest_row_invalid`; and what `scan_manifest` raises.
    """
    return list(require_usable(scan_manifest(path, label_map=label_map), path).clips)


def scan_manifest(
    path: str | Path,
    *,
    label_map: LabelMap = PUBLISHED,
    columns: Mapping[str, str] = MappingProxyType({}),
    folder: Path | None = None,
) -> Manifest:
    """Everything that a manifest holds, its bad rows collected instead of raised.

    `label_map` is tried before the everyday spellings; by default it is what all known corpora publish.
    `columns` says what a column is called in this file ({"text": "Utterance"}); `folder` is what media paths
    are relative to, where that is not the file's own.

    Raises DataError `manifest_not_found`, `manifest_invalid` (not such a file at all) or
    `manifest_column_missing` (nothing in it to read, or not a column of `columns`); ConfigError
    `extra_missing` for Parquet without pyarrow.
    """
    path = Path(path)
    rows = _rows_of(path, columns)
    clips: list[Clip] = []
    problems: list[Problem] = []
    dropped: Counter[str] = Counter()
    places: dict[str, str] = {}
    for place, row in rows:
        try:
            if isinstance(row, DataError):
                raise row
            clip = clip_from_row(row, folder or path.parent, place.replace(" ", "-"), label_map)
            if isinstance(clip, NoPlace):
                dropped[clip.label] += 1
                continue
            if clip.id in places:
                raise DataError("clip_duplicate", f"the id {clip.id!r} stands already in {places[clip.id]}")
        except DataError as error:
            problems.append(Problem(place, error.code, str(error)))
            continue
        places[clip.id] = place
        clips.append(clip)
    return Manifest(tuple(clips), tuple(problems), dict(dropped))


def read_manifest_corpus(path: str | Path) -> Corpus:
    """Any manifest as a Corpus: a file, or a folder that holds `manifest.csv`, `.jsonl` or `.parquet`.

    It is named after its file (or folder); clips without a corpus of their own get that name, so that two
    manifests may both have a speaker "1". Raises as `read_manifest` does.
    """
    path = Path(path)
    if path.is_dir():
        names = [path / f"manifest{suffix}" for suffix in (".csv", ".jsonl", ".parquet")]
        path = next((name for name in names if name.is_file()), names[0])
    name = corpus_name(path)
    manifest = require_usable(scan_manifest(path), path)
    clips = tuple(clip if clip.corpus else replace(clip, corpus=name) for clip in manifest.clips)
    return Corpus(name, "not stated", clips, manifest.dropped)


def corpus_name(path: Path) -> str:
    """What the clips of a manifest are called together where they do not say: its own name, or its folder's."""
    return path.resolve().parent.name if path.stem == "manifest" else path.stem


def write_manifest(clips: Iterable[Clip], path: str | Path) -> None:
    """Write clips as CSV, JSONL or Parquet, by the suffix of `path`; reading it gives the same clips again.

    The file appears whole or not at all. Raises DataError `manifest_invalid` for another suffix,
    `manifest_row_invalid` for a clip that no manifest can hold, `output_unwritable`; ConfigError
    `extra_missing` for Parquet without pyarrow.
    """
    path = Path(path)
    encode = _WRITERS.get(path.suffix.lower())
    if encode is None:
        raise _unknown_format(path)
    rows = [row_from_clip(clip, path.parent) for clip in clips]
    try:
        content = encode(rows)
    except UnicodeEncodeError as error:
        message = f"{error.object!r} holds half a character (a lone surrogate); repair the text"
        raise DataError("manifest_row_invalid", message) from None
    write_whole(path, content)


def require_usable(manifest: Manifest, path: str | Path) -> Manifest:
    """The manifest, when every row could be used; else one DataError, as `read_manifest` describes it."""
    problems = manifest.problems
    if not problems:
        return manifest
    codes = {problem.code for problem in problems}
    shown = "; ".join(str(problem) for problem in problems[:_SHOWN_PROBLEMS])
    more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
    count = f"{len(problems)} row{'s' if len(problems) > 1 else ''} cannot be used"
    raise DataError(
        codes.pop() if len(codes) == 1 else "manifest_row_invalid", f"{path}: {count}: {shown}{more}"
    )


# --- rows in ---------------------------------------------------------------------------------------------

_PlacedRow = tuple[str, Row | DataError]
_Columns = Mapping[str, str]  # what a file calls a column -> what it is to us


def _rows_of(path: Path, columns: Mapping[str, str]) -> list[_PlacedRow]:
    read = _READERS.get(path.suffix.lower())
    if not path.is_file():
        raise DataError(
            "manifest_not_found", f"no manifest at {path}: expected a .csv, .jsonl or .parquet file"
        )
    if read is None:
        raise _unknown_format(path)
    try:
        return list(read(path, {theirs: ours for ours, theirs in columns.items()}))
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8"
        raise DataError("manifest_invalid", message) from None
    except OSError as error:
        raise DataError("manifest_invalid", f"cannot read {path}: {error.strerror or error}") from None


def _named(name: str, columns: _Columns) -> str:
    """What a column of a file is to us: what `columns` makes of it, nothing where another one took its name."""
    ours = column_name(columns.get(name.strip(), name))
    return "" if name.strip() not in columns and ours in columns.values() else ours


def _csv_rows(path: Path, columns: _Columns) -> Iterator[_PlacedRow]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        # Spreadsheets write ";" where the comma is the decimal sign.
        table = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)
        try:
            header = next(table, [])
            names = _header(path, header, columns)  # "" stays: spreadsheets and pandas leave columns unnamed
            line = table.line_num + 1
            for cells in table:
                if len(cells) == len(names):
                    yield (
                        f"line {line}",
                        {name: cell for name, cell in zip(names, cells, strict=True) if name},
                    )
                elif cells:
                    message = f"{len(cells)} cells where the header has {len(names)}"
                    yield f"line {line}", DataError("manifest_row_invalid", message)
                line = table.line_num + 1
        except csv.Error as error:
            message = f"{path}, line {table.line_num}: {error}; write a quote inside a cell twice"
            raise DataError("manifest_invalid", message) from None


def _header(path: Path, header: Iterable[str], columns: _Columns) -> list[str]:
    names = [_named(name, columns) for name in header]
    absent = sorted(set(columns) - {name.strip() for name in header})
    if absent:
        found = ", ".join(header)
        message = f"{path} has no column {absent[0]!r} for {columns[absent[0]]}: expected one of {found}"
        raise DataError("manifest_column_missing", message)
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise DataError("manifest_invalid", f"{path}: the column {twice[0]!r} stands twice; keep one")
    if not set(names) & set(MODALITY_COLUMNS):
        found = ", ".join(names[:8]) or "nothing"
        message = f"{path} has the columns {found}: expected at least one of {', '.join(MODALITY_COLUMNS)}"
        raise DataError("manifest_column_missing", message)
    return names


def _jsonl_rows(path: Path, columns: _Columns) -> Iterator[_PlacedRow]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"line {number}", _json_row(line, columns)


def _json_row(line: str, columns: _Columns) -> Row | DataError:
    try:
        row = json.loads(line, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return DataError("manifest_row_invalid", f"not JSON: {error}")
    if not isinstance(row, dict):
        return DataError("manifest_row_invalid", 'expected a JSON object like {"path": "a.wav"}')
    return {_named(name, columns): value for name, value in row.items()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return row


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _parquet_rows(path: Path, columns: _Columns) -> Iterator[_PlacedRow]:
    pyarrow = _pyarrow()
    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise DataError("manifest_invalid", f"{path} is not a Parquet file: {reason}") from None
    names = _header(path, table.column_names, columns)
    for number, row in enumerate(table.rename_columns(names).to_pylist(), start=1):
        yield f"row {number}", row


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        message = 'Parquet needs pyarrow: pip install "affetto[parquet]", or use CSV or JSONL'
        raise ConfigError("extra_missing", message) from None
    return pyarrow


# --- rows out --------------------------------------------------------------------------------------------


def _columns(rows: Iterable[Row]) -> list[str]:
    """The columns in use, first seen first; a manifest without clips still has a header to read."""
    names = dict.fromkeys(("id", "speech", "text", "vision"))
    for row in rows:
        names.update(dict.fromkeys(row))
    return [*names]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        nested = any(isinstance(item, dict) for item in value)
        return json.dumps(value, ensure_ascii=False) if nested else "|".join(value) + "|" * (len(value) == 1)
    return "yes" if value is True else repr(value) if isinstance(value, float) else value


def _csv_bytes(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    file = io.StringIO(newline="")
    # Its lines end in "\r\n", which makes the writer quote both: every line break in a text survives.
    table = csv.writer(file, delimiter=delimiter)
    names = _columns(rows)
    table.writerow(names)
    table.writerows([_cell(row[name]) if name in row else "" for name in names] for row in rows)
    return file.getvalue().encode()


def _jsonl_bytes(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows).encode()


def _parquet_bytes(rows: list[dict[str, Any]]) -> bytes:
    pyarrow = _pyarrow()
    columns = {}
    for name in _columns(rows):
        values = [row.get(name) for row in rows]
        numbers = all(value is None or isinstance(value, float) for value in values) and any(values)
        cells = [value if value is None or numbers else _cell(value) for value in values]
        columns[name] = pyarrow.array(cells, pyarrow.float64() if numbers else pyarrow.string())
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def _unknown_format(path: Path) -> DataError:
    message = f"{path.name} is no manifest: expected a name ending in {', '.join(_READERS)}"
    return DataError("manifest_invalid", message)


_READERS: Mapping[str, Callable[[Path, _Columns], Iterator[_PlacedRow]]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".parquet": _parquet_rows,
}
_WRITERS: Mapping[str, Callable[[list[dict[str, Any]]], bytes]] = {
    ".csv": _csv_bytes,
    ".tsv": partial(_csv_bytes, delimiter="\t"),
    ".jsonl": _jsonl_bytes,
    ".parquet": _parquet_bytes,
}
