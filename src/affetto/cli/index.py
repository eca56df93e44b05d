"""`affetto index`: clips into an index that `affetto search` searches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affetto.cli.predict import SOME_FAILED
from affetto.errors import ConfigError

if TYPE_CHECKING:
    from affetto.media.worker import DecodingWorker
    from affetto.predictor import Predictor
    from affetto.records import Clip
    from affetto.search import Report, Store


def index(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="INDEX", help="The index, a folder.")],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE", help="Folders, recordings, pictures, 'glob*' patterns or manifests."
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(help="Take a clip out: its id, its file or a folder; give it again for more."),
    ] = None,
    bundle: Annotated[str | None, typer.Option(help="The model: a folder or zip.")] = None,
) -> None:
    """Make an index of clips, or add to it.

    Run it again to add what is new and replace what changed: the rest is left alone, and a run that was stopped
    goes on. Files that fail do not stop the others; the exit code is then 3.
    """
    if not sources and not remove:
        raise ConfigError("option_invalid", "nothing to do: give a SOURCE or --remove")
    if remove:
        from affetto.search import Store
        from affetto.search.indexing import remove_clips

        print(f"{remove_clips(Store(output), remove)} rows removed", file=sys.stderr)
    if sources:
        _add(sources, output, bundle)


def _add(sources: Sequence[str], output: Path, bundle: str | None) -> None:
    from affetto.cli.predict import gather
    from affetto.media.worker import DecodingWorker
    from affetto.search import approximate, index_clips

    nothing = dict.fromkeys(("--text", "--image", "--words", "--transcribe"))
    clips = [_placed(item.clip) for item in gather(sources, nothing, None).all]
    with DecodingWorker() as decoder:
        store, predictor = _opened(output, bundle, decoder)
        report = index_clips(store, clips, predictor, decoder, progress=_watched)
    if len(store) > approximate.ABOVE:
        approximate.build(store)
    _tell(report, store)
    if report.failed:
        raise typer.Exit(SOME_FAILED)


def _placed(clip: Clip) -> Clip:
    """A file's clip is known by its whole path, from wherever the command is run."""
    return replace(clip, id=os.path.abspath(clip.id)) if clip.id in (clip.speech, clip.vision) else clip


def _opened(output: Path, bundle: str | None, decoder: DecodingWorker) -> tuple[Store, Predictor]:
    """The index, made if it is not there, and the bundle given or, without one, the index's own."""
    from affetto.predictor import load
    from affetto.search import Store
    from affetto.search.space import origin_of
    from affetto.search.store import CONTENTS

    if (output / CONTENTS).exists():
        store = Store(output)
        return store, load(bundle or store.origin.path, decoder=decoder)
    predictor = load(bundle, decoder=decoder)
    place = None if bundle is None else os.path.abspath(bundle)
    return Store.create(output, origin_of(predictor, place)), predictor


def _watched(clips: Sequence[Clip]) -> Iterable[Clip]:
    """The clips, with a progress bar on stderr when someone is watching it."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if not console.is_terminal:
        return clips
    return track(clips, description="indexing", console=console, transient=True)


def _tell(report: Report, store: Store) -> None:
    from affetto.cli.show import failure

    for clip, error in report.failed:
        print(failure(clip.speech or clip.vision or clip.id, error), file=sys.stderr)
    counts = f"{report.added} added, {report.known} known, {len(report.failed)} failed"
    print(f"{counts}; {store.folder} holds {len(store)} vectors of {store.origin.name}", file=sys.stderr)
