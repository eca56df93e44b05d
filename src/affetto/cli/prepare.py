"""`affetto prepare`: a corpus as its authors published it in, a manifest out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affetto.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.console import Console

    from affetto.data.manifest import Corpus
    from affetto.records import Clip

_SHOWN_PROBLEMS = 20


def prepare(
    corpus: Annotated[
        str | None, typer.Argument(metavar="CORPUS", help="A known corpus; see --list.")
    ] = None,
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="Its folder, or the file of a table.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The manifest to write: .csv, .jsonl or .parquet."),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="An option of the reader; see --list."),
    ] = None,
    list_corpora: Annotated[bool, typer.Option("--list", help="Show the known corpora.")] = False,
) -> None:
    """Write the manifest of a corpus, media paths relative to it, and say what is in it.

    What cannot be used is left out and listed. The manifest appears whole or not at all.
    """
    from rich.console import Console

    console = Console(highlight=False)
    if list_corpora:
        show_corpora(console)
        return
    if corpus is None or path is None or output is None:
        raise ConfigError(
            "option_invalid", "expected CORPUS PATH -o MANIFEST; affetto prepare --list shows the corpora"
        )
    from affetto.data.corpora import read_corpus
    from affetto.data.manifest import write_manifest

    found = read_corpus(corpus, path, **parse_options(options or []))
    if not found.clips:
        reasons = "; ".join((*found.problems[:3], *(f"dropped: {label}" for label in found.dropped)))
        raise DataError("corpus_layout", f"no clip in {path} can be used: {reasons or 'it holds none'}")
    write_manifest(found.clips, output)
    show_summary(console, found)
    console.print(f"written: {output}", markup=False, soft_wrap=True)


def parse_options(options: list[str]) -> dict[str, str]:
    """The reader's options of `--option NAME=VALUE`. Raises ConfigError `option_invalid`."""
    parsed: dict[str, str] = {}
    for option in options:
        name, sign, value = option.partition("=")
        if not sign or not name or name in parsed:
            message = f"--option {option!r}: expected NAME=VALUE, each name once, such as labels=raw"
            raise ConfigError("option_invalid", message)
        parsed[name] = value
    return parsed


def summary(corpus: Corpus) -> dict[str, str]:
    """What a corpus holds: clips, speakers, labels, agreement, splits and what was dropped, in words."""
    from affetto.data.agreement import vote_agreement

    speakers = {clip.speaker for clip in corpus.clips} - {None}
    unknown = sum(clip.speaker is None for clip in corpus.clips)
    rows = {
        "corpus": f"{corpus.name}, licence: {corpus.licence}",
        "clips": f"{len(corpus.clips):,}",
        "speakers": f"{len(speakers):,}" + (f"; {unknown:,} clips without" if unknown else ""),
        "emotion": _counted(Counter(_emotion(clip) for clip in corpus.clips)),
        "other tasks": _counted(
            Counter(task for clip in corpus.clips for task in clip.labels if task != "emotion")
        ),
        "splits": _counted(Counter(clip.split or "none" for clip in corpus.clips)),
        "dropped for their label": _counted(corpus.dropped),
    }
    votes = vote_agreement(corpus.clips)
    if votes:
        kappa = "" if votes.kappa is None else f", Fleiss' kappa {votes.kappa:.2f}"
        rows["agreement"] = (
            f"the winner has {votes.share:.2f} of the votes; {votes.ties:,} ties, "
            f"{votes.low:,} with at most half{kappa}"
        )
    return {name: value for name, value in rows.items() if value}


def show_summary(console: Console, corpus: Corpus) -> None:
    """The short table, then what was left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in summary(corpus).items():
        table.add_row(name, Text(value))
    console.print(table)
    for problem in corpus.problems[:_SHOWN_PROBLEMS]:
        console.print(f"- {problem}", markup=False, soft_wrap=True)
    if len(corpus.problems) > _SHOWN_PROBLEMS:
        console.print(f"- and {len(corpus.problems) - _SHOWN_PROBLEMS:,} more", markup=False)


def show_corpora(console: Console) -> None:
    """The known corpora: name, what they are, licence, options of their readers."""
    from rich.table import Table
    from rich.text import Text

    from affetto.data.corpora import describe_corpora

    table = Table("corpus", "what", "licence", "options")
    for corpus in describe_corpora():
        cells = (corpus.name, corpus.title, corpus.licence, " ".join(corpus.options))
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)


def _emotion(clip: Clip) -> str:
    """The emotion of a clip in a word: its label, the winner of its votes, "tie", "several" or "none"."""
    from affetto.labels import leading

    label = clip.labels.get("emotion")
    if isinstance(label, str):
        return label
    if isinstance(label, tuple):
        return label[0] if len(label) == 1 else "several"
    leaders = leading(label) if isinstance(label, Mapping) else ()
    return leaders[0] if len(leaders) == 1 else "tie" if leaders else "none"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {counts[name]:,}" for name in sorted(counts))
