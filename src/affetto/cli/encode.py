"""`affetto encode`: clips as a bundle's encoders hear, read and see them, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from affetto.cli.predict import SOME_FAILED


def encode(
    manifest: Annotated[Path, typer.Argument(help="Clips: CSV, JSONL or Parquet.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")],
    bundle: Annotated[str | None, typer.Option(help="The model: a folder or zip.")] = None,
    pool: Annotated[bool, typer.Option("--pool", help="One vector per clip: the mean over time.")] = False,
) -> None:
    """Encode the clips of a manifest once, by the encoders of a bundle.

    The folder's manifest.csv has the same clips with features in the place of media: train on it, or compare
    fusions and heads with `affetto compare`, and no step waits for the encoders. Clips that cannot be read, or bring
    nothing that the bundle encodes, are left out and listed in unreadable.csv; the exit code is then 3.
    """
    from affetto.cli.train import require_extra

    require_extra()
    from rich.console import Console

    from affetto.bundle import open_bundle
    from affetto.data.manifest import read_manifest
    from affetto.learn.export.encoding import MANIFEST, encode_clips
    from affetto.learn.training.display import Display
    from affetto.learn.training.run_folder import RunFolder

    console = Console(highlight=False)
    display = Display(console)
    (output / "unreadable.csv").unlink(missing_ok=True)  # of another run
    unreadable = encode_clips(
        open_bundle(bundle),
        read_manifest(manifest),
        output,
        pool=pool,
        wrap=lambda clips: display.wrap(clips, "clips"),
    )
    console.print(f"written: {output / MANIFEST}", markup=False, soft_wrap=True)
    if unreadable:
        RunFolder(output).write_unreadable(unreadable)
        table = output / "unreadable.csv"
        console.print(f"{len(unreadable)} clips left out: see {table}", markup=False, soft_wrap=True)
        raise typer.Exit(SOME_FAILED)
