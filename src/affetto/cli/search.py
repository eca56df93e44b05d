"""`affetto search`: words, a sound or a picture in, the nearest clips out."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from affetto.search import Hit


def search(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="The index that `affetto index` made.")],
    text: Annotated[str | None, typer.Argument(metavar="WORDS", help="What to look for.")] = None,
    speech: Annotated[str | None, typer.Option(help="Look for what is like this recording.")] = None,
    image: Annotated[str | None, typer.Option(help="Look for what is like this picture.")] = None,
    label: Annotated[str | None, typer.Option(help="Only clips with this label.")] = None,
    speaker: Annotated[str | None, typer.Option(help="Only clips of this speaker.")] = None,
    modality: Annotated[str | None, typer.Option(help="Only speech, text or vision.")] = None,
    after: Annotated[str | None, typer.Option(help="Only clips of this date or later: 2026-05-01.")] = None,
    before: Annotated[str | None, typer.Option(help="Only clips before this date.")] = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="How many to find.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, a line for each.")] = False,
    bundle: Annotated[str | None, typer.Option(help="The model, where it is not where it was.")] = None,
) -> None:
    """Find clips by words, by a sound or by a picture.

    affetto search calls.index "angry" --after 2026-05-01
    """
    from affetto.media.worker import DecodingWorker
    from affetto.predictor import load
    from affetto.search import Filters, Finder, Store
    from affetto.search.find import query_vector

    filters = Filters(label, speaker, modality, after, before)
    store = Store(index)
    with DecodingWorker() as decoder:
        predictor = load(bundle or store.origin.path, decoder=decoder)
        query = query_vector(store.origin, predictor, decoder, text=text, speech=speech, image=image)
    hits = Finder(store).find(query, top, filters)
    if as_json:
        for hit in hits:
            print(json.dumps(hit.to_dict(), ensure_ascii=False))
    else:
        _show(hits)


def _show(hits: Sequence[Hit]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from affetto.cli.show import printable

    if not hits:
        print("nothing found", file=sys.stderr)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("score", "what", "time", "clip"):
        table.add_column(
            heading, justify="right" if heading == "score" else "left", no_wrap=heading != "clip"
        )
    for hit in hits:
        entry = hit.entry
        name = entry.file or entry.text or entry.id
        table.add_row(f"{hit.score:.3f}", entry.modality, _span(hit), Text(printable(name), overflow="fold"))
    Console().print(table)


def _span(hit: Hit) -> str:
    entry = hit.entry
    return "" if entry.start is None or entry.end is None else f"{entry.start:.1f}-{entry.end:.1f} s"
