"""Any table of clips: a CSV, JSONL or Parquet file whose columns have names of their own.

Origin: yours, or whoever wrote the table. Licence: not stated.

Layout: one row per clip. Each option says what a column of a manifest is called in this file:
`text=Utterance emotion=Label speaker=who path=file`; columns that have a manifest's name already need none. Paths are
relative to the table, or to the folder `root`.

Quirks: rows that cannot be used (a label that nobody knows, no file, two equal ids) are left out and named; a
manifest, which the reader `manifest` takes, must be right in every row.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from affetto.data.corpora.layout import layout_error
from affetto.data.manifest import Corpus, require_usable, scan_manifest
from affetto.errors import ConfigError

LICENCE = "not stated"


def read(path: str | Path, /, root: str | None = None, **columns: str) -> Corpus:
    """A table, with its columns named. Raises DataError `corpus_layout` where there is none.

    Raises what `scan_manifest` raises, what `require_usable` raises for a table without one usable row, and
    ConfigError `option_invalid` for a column that is named twice.
    """
    table = Path(path)
    twice = [name for name, count in Counter(columns.values()).items() if count > 1]
    if twice:
        raise ConfigError("option_invalid", f"the column {twice[0]!r} is named for two things: name it once")
    if not table.is_file():
        raise layout_error("a table", table, "a .csv, .tsv, .jsonl or .parquet file")
    manifest = scan_manifest(table, columns=columns, folder=Path(root) if root else None)
    if not manifest.clips:
        require_usable(manifest, table)
    clips = tuple(clip if clip.corpus else replace(clip, corpus=table.stem) for clip in manifest.clips)
    problems = tuple(f"left out {problem}" for problem in manifest.problems)
    return Corpus(table.stem, LICENCE, clips, manifest.dropped, problems)
