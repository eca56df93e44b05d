"""`affetto evaluate`: a bundle's answers to labelled clips, measured."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affetto.cli.predict import split_labels, tracked
from affetto.cli.rows import RowWriter, opened, row_writer
from affetto.errors import AffettoError, DataError
from affetto.records import Clip, Prediction

if TYPE_CHECKING:
    from affetto.predictor import Predictor

#: A clip, its true emotion, and what came of it.
Answered = tuple[Clip, str, Prediction | AffettoError]


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
    report: Annotated[
        Path | None,
        typer.Option(help="Write a page to show, and the answers it is computed from, to a .html file."),
    ] = None,
    noise: Annotated[
        bool, typer.Option(help="For the page, ask again with noise in the speech; three times more work.")
    ] = True,
    against: Annotated[
        Path | None,
        typer.Option(help="For the page, the .predictions.jsonl of another run on the same clips."),
    ] = None,
    precision: Annotated[str | None, typer.Option(help="int8 or fp32; int8 where the bundle has it.")] = None,
) -> None:
    """Measure a bundle: UAR, accuracy, F1, calibration, confusion, and groups of speakers.

    Clips without one clear emotion are skipped, clips that cannot be read are listed; both are counted.
    With --report also: abstention, subsets of modalities, noise, the worst mistakes to listen to.
    """
    from affetto.cli.evaluated import check_report, write_report
    from affetto.data.manifest import corpus_name, read_manifest

    check_report(report, against)
    clips = [clip for clip in read_manifest(manifest) if split is None or clip.split == split]
    with ExitStack() as stack:
        sink = stack.enter_context(opened(output)) if output else None
        from affetto.media.worker import DecodingWorker

        decoder = stack.enter_context(DecodingWorker())
        from affetto.predictor import load

        predictor = load(bundle, precision=precision, decoder=decoder)
        kept = predictor.restricted(split_labels(labels))
        rows = _labelled(clips, kept, f"{manifest}, split {split}" if split else str(manifest))
        write = row_writer(sink, output.suffix, kept, ("id", "truth")) if sink and output else None
        answers = _answers(predictor, rows, kept, write)
        own = corpus_name(manifest)
        learnt = sum(_may_have_learnt(predictor, clip, own) for clip, _ in rows)
        found = {**_report(answers, kept), "skipped": len(clips) - len(rows), "learnt": learnt}
        if report is not None:
            asked_for = {"--split": split, "--labels": labels, "--precision": precision, "--against": against}
            facts = _facts(_command(manifest, bundle, report, asked_for, noise), found)
            title = f"{predictor.bundle.info.name} on {manifest.stem}"
            write_report(
                report, answers, predictor, decoder, title=title, facts=facts, noise=noise, against=against
            )
    _tell(
        found, [(clip, outcome) for clip, _, outcome in answers if isinstance(outcome, AffettoError)], as_json
    )


def _labelled(clips: Sequence[Clip], kept: Sequence[str], where: str) -> list[tuple[Clip, str]]:
    """The clips with one clear emotion out of those kept, and it. Raises DataError `nothing_to_predict`."""
    rows = [(clip, truth) for clip in clips if (truth := true_emotion(clip)) is not None and truth in kept]
    if not rows:
        raise DataError(
            "nothing_to_predict",
            f"{where}: no clip with one clear emotion out of {', '.join(kept)}; check its labels",
        )
    return rows


def _answers(
    predictor: Predictor, rows: Sequence[tuple[Clip, str]], kept: Sequence[str], write: RowWriter | None
) -> list[Answered]:
    """What the model says of every clip, each written down as soon as it is there."""
    answers: list[Answered] = []
    outcomes = predictor.predict_many(tracked([clip for clip, _ in rows]), labels=kept)
    for (clip, truth), (_, outcome) in zip(rows, outcomes, strict=True):
        if write is not None:
            write(clip.speech or clip.vision or clip.id, outcome, id=clip.id, truth=truth)
        answers.append((clip, truth, outcome))
    return answers


def _command(
    manifest: Path, bundle: str | None, report: Path, options: Mapping[str, object], noise: bool
) -> str:
    """The command of a report, without folders: they are no concern of those whom it is sent to."""
    given = {"--bundle": bundle, "--report": report, **options}
    words = [
        word for name, value in given.items() if value is not None for word in (name, Path(str(value)).name)
    ]
    return shlex.join(["affetto", "evaluate", manifest.name, *words, *([] if noise else ["--no-noise"])])


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


def _report(outcomes: Sequence[Answered], labels: Sequence[str]) -> dict[str, Any]:
    from affetto.evaluation.report import evaluation_report

    answers = [(clip, truth, said) for clip, truth, said in outcomes if isinstance(said, Prediction)]
    clips = [clip for clip, _, _ in answers]
    report = evaluation_report(
        [truth for _, truth, _ in answers],
        [[prediction.probabilities[name] for name in labels] for _, _, prediction in answers],
        labels,
        speakers=[clip.speaker for clip in clips],
        genders=[clip.gender for clip in clips],
        languages=[clip.language for clip in clips],
        corpora=[clip.corpus for clip in clips],
        abstained=[prediction.abstained for _, _, prediction in answers],
    )
    return {**report, "failed": len(outcomes) - len(answers)}


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
    if report["learnt"]:
        print(f"caution: {_caution(report)}", file=sys.stderr)


def _may_have_learnt(predictor: Predictor, clip: Clip, manifest: str) -> bool:
    """A bundle names corpora as their manifests were called, clips may name theirs. No test part is learnt from."""
    known = (predictor.bundle.info.may_have_learnt(name, clip.speaker) for name in (clip.corpus, manifest))
    return clip.split != "test" and any(known)


def _facts(command: str, report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the page says of how it came about."""
    facts = [("command", command), ("skipped", f"{report['skipped']} clips without one clear emotion")]
    return [*facts, ("caution", _caution(report))] if report["learnt"] else facts


def _caution(report: Mapping[str, Any]) -> str:
    return (
        f"the model may have learnt from {report['learnt']} of {report['n'] + report['failed']} clips: it was trained "
        "on their corpus, and these people were not kept out; if it did, the figures flatter it"
    )
