"""`affetto audit`: what would have ruined a result, found before anything is trained."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affetto.errors import ConfigError, DataError
from affetto.records import Clip

if TYPE_CHECKING:
    from affetto.data.audit import Audit, Finding

_MANIFESTS = ("manifest.csv", "manifest.jsonl", "manifest.parquet")
_MARKS = {"leak": ("✗", "red"), "problem": ("!", "yellow"), "note": ("·", "dim")}


def audit(
    sources: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="Manifests, or folders that hold some.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the findings to a .html or .json file.")
    ] = None,
    media: Annotated[
        bool, typer.Option(help="Open recordings and pictures; --no-media looks at the tables alone.")
    ] = True,
) -> None:
    """Find leaks between splits, copies, artefacts that tell the label, and media that cannot be used.

    Exits with 2 when there are leaks, for which training would be refused, else with 0.
    """
    if output is not None and output.suffix not in (".html", ".json"):
        raise ConfigError("option_invalid", f"output {output}: expected a name ending in .html or .json")
    from affetto.data import audit as audits

    clips = [clip for source in sources for clip in _clips(source)]
    if media:
        from affetto.media.worker import DecodingWorker

        with DecodingWorker() as worker:
            found = audits.audit(clips, worker, progress=lambda items: _watched(items, clips))
    else:
        found = audits.audit(clips)
    if output is not None:
        _write(found, output, ", ".join(map(str, sources)))
    if as_json:
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        _show(found)
    if found.leaks:
        raise typer.Exit(2)


def _clips(source: Path) -> list[Clip]:
    """The clips of a manifest, or of those in a folder and in its folders, which name their corpora."""
    from affetto.data.manifest import read_manifest

    if not source.is_dir():
        return list(read_manifest(source))
    paths = sorted(path for name in _MANIFESTS for path in source.rglob(name))
    if not paths:
        raise DataError("manifest_not_found", f"{source}: holds no {', no '.join(_MANIFESTS)}; name the file")
    return [
        replace(clip, corpus=clip.corpus or path.parent.name)
        for path in paths
        for clip in read_manifest(path)
    ]


def _watched(items: Iterable, clips: Sequence[Clip]) -> Iterable:
    """The items, with a progress bar on stderr when someone is watching it."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if not console.is_terminal:
        return items
    total = sum((clip.speech is not None) + (clip.vision is not None) for clip in clips)
    return track(items, description="listening", console=console, transient=True, total=total)


def _show(found: Audit) -> None:
    from rich.console import Console

    console = Console(highlight=False, emoji=False, markup=False, soft_wrap=not sys.stdout.isatty())
    for finding in found.findings:
        mark, colour = _MARKS[finding.severity]
        console.print(f"{mark} {finding.severity:8}", style=colour, end="")
        console.print(_line(finding))
    console.print(summary(found))


def summary(found: Audit) -> str:
    """One line: what was looked at, and how many findings of each kind there are."""
    counts = found.counts
    kinds = {name: sum(finding.severity == name for finding in found.findings) for name in _MARKS}
    told = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in kinds.items())
    return f"{counts['clips']} clips of {counts['speakers']} speakers, {counts['hours']:.1f} h: {told}"


def _line(finding: Finding) -> str:
    return f"{finding.message} [{finding.code}]" + (f" -> {finding.remedy}" if finding.remedy else "")


def _write(found: Audit, output: Path, title: str) -> None:
    from affetto.files import write_whole

    if output.suffix == ".json":
        text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n"
    else:
        from affetto.data.audit.page import to_html

        text = to_html(found, title)
    write_whole(output, text.encode("utf-8", errors="replace"))
