"""What readers share: finding a corpus's files, and refusing a folder that is something else."""

from __future__ import annotations

import codecs
import csv
import gzip
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from affetto.data.columns import LabelMap
from affetto.data.manifest import Corpus, require_usable, scan_manifest
from affetto.errors import DataError
from affetto.records import Clip

AUDIO = (".wav", ".flac")
PICTURES = (".jpg", ".jpeg", ".png")


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


def scripted_speech(
    folder: Path,
    name: str,
    licence: str,
    label_map: LabelMap,
    published: Callable[[Path], tuple[Sequence[Clip], tuple[str, ...]]],
    wanted: str,
) -> Corpus:
    """A corpus of given sentences: from its `manifest.csv` where it has one, else the clips, and the problems in
    words, that `published` finds in the folder.

    Raises DataError `corpus_layout`, naming the file that is `wanted`, where there are no clips.
    """
    corpus = manifest_corpus(folder, name, licence, label_map, scripted=True)
    if corpus is not None:
        return corpus
    clips, problems = published(folder)
    if not clips:
        raise layout_error(name.upper(), folder, f"{wanted} ... or manifest.csv")
    return Corpus(name, licence, tuple(clips), problems=problems)


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


def csv_rows(path: Path, columns: Iterable[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file that has these columns, the names of which are trimmed.

    Raises DataError `corpus_layout` for a file without them, or that cannot be read as CSV in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = [name.strip() for name in next(csv.reader(file), [])]
            if not set(columns) <= set(names):
                raise DataError("corpus_layout", f"{path} has not the columns {', '.join(columns)}")
            yield from csv.DictReader(file, names, restval="")
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError("corpus_layout", f"cannot read {path}: {error}") from None


def any_text(path: Path, otherwise: str) -> str:
    """The text of a file of unknown encoding: UTF-16 by its mark, UTF-8, or else `otherwise`.

    Raises DataError `corpus_layout` for a file that cannot be opened.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError("corpus_layout", f"cannot read {path}: {error}") from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode(otherwise, errors="replace")


def files_under(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of these suffixes anywhere in a folder, in order, but for the hidden ones that macOS leaves."""
    return sorted(
        file
        for file in folder.rglob("*.*")
        if file.suffix.lower() in suffixes and not file.name.startswith(".")
    )


def coded_files(
    files: Iterable[Path], code: re.Pattern[str]
) -> tuple[list[tuple[Path, re.Match[str]]], tuple[str, ...]]:
    """The files whose names (without suffix) are codes, each name once, and in words what was left out."""
    found: dict[str, tuple[Path, re.Match[str]]] = {}
    strange: list[str] = []
    repeated = 0
    for file in files:
        match = code.fullmatch(file.stem)
        if match is None:
            strange.append(file.name)
        elif file.stem in found:
            repeated += 1
        else:
            found[file.stem] = file, match
    problems = [f"left out {len(strange)} files with another kind of name: {strange[0]}"] if strange else []
    if repeated:
        problems.append(f"left out {repeated} repeated files")
    return list(found.values()), tuple(problems)


def missing_files(names: Iterable[str], shown: int = 3) -> tuple[str, ...]:
    """The problem that recordings or pictures are not there, naming the first; () when none is missing."""
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return (
        (f"left out {len(names)} whose file is missing: {', '.join(names[:shown])}{more}",) if names else ()
    )
