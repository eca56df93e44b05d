"""What readers share: finding a corpus's files, and refusing a folder that is something else."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from affetto.data.columns import LabelMap
from affetto.data.manifest import Corpus, require_usable, scan_manifest
from affetto.errors import DataError


def layout_error(corpus: str, folder: Path, wanted: str) -> DataError:
    """The error for a folder that does not have the corpus's layout: it names what was looked for."""
    found = "" if folder.is_dir() else " (which is no folder)"
    return DataError("corpus_layout", f"{folder}{found} does not look like {corpus}: expected {wanted}")


def manifest_corpus(
    folder: Path, name: str, licence: str, label_map: LabelMap, *, scripted: bool = False
) -> Corpus | None:
    """The corpus where it lies as a folder with a `manifest.csv`; None where it does not.

    Raises as `read_manifest` does.
    """
    path = folder / "manifest.csv"
    if not path.is_file():
        return None
    manifest = require_usable(scan_manifest(path, label_map=label_map), path)
    clips = tuple(replace(clip, corpus=name, scripted=scripted) for clip in manifest.clips)
    return Corpus(name, licence, clips, manifest.dropped)


def find_file(folders: list[Path], names: list[str]) -> Path | None:
    """The first of `names`, plain or with `.gz`, in the first of `folders` that has one."""
    candidates = (folder / (name + suffix) for folder in folders for name in names for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def unquoted(text: str) -> str:
    """A cell of a tab-separated file without the quoting of CSV, where it has any; trimmed.

    Only `"said ""no"" twice"` is quoting: a quote inside that is not doubled shows that the quotes are said.
    """
    inner = text[1:-1].replace('""', "")
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in inner:
        text = text[1:-1].replace('""', '"')
    return text.strip()


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 text file, plain or `.gz`, numbered from 1, without their ends.

    Only line feeds end a line: sentences of people hold U+2028 and other breaks that `splitlines` would take.
    Raises DataError `corpus_layout` for a file that cannot be read as such.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except (UnicodeDecodeError, OSError, EOFError) as error:
        raise DataError("corpus_layout", f"cannot read {path} as UTF-8 text: {error}") from None
