"""`affetto evaluate`: a bundle's answers to labelled clips, measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affetto.cli.predict import opened, row_writer, split_labels, tracked
from affetto.errors import AffettoError, DataError
from affetto.records import Clip, Prediction

if TYPE_CHECKING:
    pass


def evaluate(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="Labelled clips: a .csv, .jsonl or .parquet file.")
    ],
    bundle: Annotated[str | None, typer.Option(help="The model: a folder or zip.")] = None,
    split: Annotated[str | None, typer.Option(help="Only clips of this split, like test.")] = None,
    labels: Annotated[str | None, typer.Option(help="Only these emotions: anger,happiness.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write each clip's answer to a .csv or .jsonl file.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="int8 or fp32; int8 where the bundle has it.")] = None,
) -> None:
    """Measure a bundle: UAR, accuracy, F1, calibration, confusion, and groups of speakers.

    Clips without one clear emotion are skipped, clips that cannot be read are listed; both are counted.
    """
    from affetto.data.manifest import read_manifest

    clips = [clip for clip in read_manifest(manifest) if split is None or clip.split == split]
    with ExitStack() as stack:
        sink = stack.enter_context(opened(output)) if output else None
        from affetto.media.worker import DecodingWorker

        decoder = stack.enter_context(DecodingWorker())
        from affetto.predictor import load

        predictor = load(bundle, precision=precision, decoder=decoder)
        kept = predictor.restricted(split_labels(labels))
        rows = [(clip, truth) for clip in clips if (truth := true_emotion(clip)) in kept]
        if not rows:
            asked = f"{manifest}, split {split}" if split else str(manifest)
            raise DataError(
                "nothing_to_predict",
                f"{asked}: no clip with one clear emotion out of {', '.join(kept)}; check its labels",
            )
        write = row_writer(sink, output.suffix, kept, ("id", "truth")) if sink and output else None
        answers, failed = [], []
        outcomes = predictor.predict_many(tracked([clip for clip, _ in rows]), labels=kept)
        for (clip, truth), (_, outcome) in zip(rows, outcomes, strict=True):
            if write is not None:
                write(clip.speech or clip.vision or clip.id, outcome, id=clip.id, truth=str(truth))
            if isinstance(outcome, AffettoError):
                failed.append((clip, outcome))
            else:
                answers.append((clip, str(truth), outcome))
    report = {**_report(answers, kept), "skipped": len(clips) - len(rows), "failed": len(failed)}
    _tell(report, failed, as_json)


def true_emotion(clip: Clip) -> str | None:
    """The one emotion a clip is labelled with: a class, or the only winner of a vote; else None."""
    label = clip.labels.get("emotion")
    if isinstance(label, str):
        return label
    if isinstance(label, tuple):
        return label[0] if len(label) == 1 else None
    if isinstance(label, (int, float)) or not label:
        return None
    most = max(label.values())
    winners = [name for name, votes in label.items() if votes == most]
    return winners[0] if len(winners) == 1 else None


def _report(answers: Sequence[tuple[Clip, str, Prediction]], labels: Sequence[str]) -> dict[str, Any]:
    from affetto.evaluation.report import evaluation_report

    clips = [clip for clip, _, _ in answers]
    return evaluation_report(
        [truth for _, truth, _ in answers],
        [[prediction.probabilities[name] for name in labels] for _, _, prediction in answers],
        labels,
        speakers=[clip.speaker for clip in clips],
        genders=[clip.gender for clip in clips],
        languages=[clip.language for clip in clips],
        corpora=[clip.corpus for clip in clips],
        abstained=[prediction.abstained for _, _, prediction in answers],
    )


def _tell(report: dict[str, Any], failed: Iterable[tuple[Clip, AffettoError]], as_json: bool) -> None:
    from affetto.cli.show import failure

    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        from rich.console import Console

        from affetto.evaluation.report import render

        Console(highlight=False).print(render(report))
    for clip, error in failed:
        print(failure(clip.id, error), file=sys.stderr)
    if report["skipped"]:
        print(f"skipped: {report['skipped']} clips without one clear emotion of the model's", file=sys.stderr)
