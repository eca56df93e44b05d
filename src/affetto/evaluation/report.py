"""The report of an evaluation: predictions of labelled clips to one dictionary, and that to a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from affetto.errors import DataError
from affetto.evaluation.calibration import calibration_gap
from affetto.evaluation.metrics import accuracy, confusion, draw, interval, macro_f1, uar, weighted_f1

_SCORES = {
    "uar": "Unweighted accuracy (UAR)",
    "wa": "Weighted accuracy (WA)",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "ece": "Calibration error (ECE)",
}
_LISTED = 12  # groups of one kind that are shown; the dictionary has them all


def evaluation_report(
    truth: Sequence[str] | NDArray[np.integer],
    probabilities: ArrayLike,
    labels: Sequence[str],
    *,
    speakers: Sequence[str | None] | None = None,
    genders: Sequence[str | None] | None = None,
    languages: Sequence[str | None] | None = None,
    corpora: Sequence[str | None] | None = None,
    abstained: ArrayLike | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The numbers of `affetto evaluate --json`, ready for JSON.

    truth [N]: names out of `labels`, or their indices; probabilities [N C], columns in the order of `labels`;
    speakers, genders, languages, corpora [N], None where unknown; abstained [N] bool.

    `uar`, `wa`, `macro_f1`, `weighted_f1`, `ece` and `confusion` (rows are true) are of *all* clips by their
    most probable class, so that abstaining hides no error; `coverage` is the share that was not abstained.
    `intervals` holds 95 % bootstrap intervals over speakers (over clips where speakers are unknown); that of
    the calibration error lies high, because a resample repeats clips. `groups` holds n, uar and wa per
    speaker, gender, language and corpus; where there are several corpora a speaker is `corpus/speaker`.

    Raises DataError `nothing_to_predict` without clips and `label_unknown`; ValueError for unequal lengths.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if not len(values):
        raise DataError("nothing_to_predict", "no labelled clip to evaluate: check the labels and the split")
    true, said, confidence = _class_indices(truth, labels), values.argmax(axis=1), values.max(axis=1)
    people = people_of(speakers, corpora)
    kinds = {"speaker": people, "gender": genders, "language": languages, "corpus": corpora}
    for name, column in {"truth": truth, "abstained": abstained, **kinds}.items():
        if column is not None and len(np.asarray(column)) != len(values):
            raise ValueError(f"{len(np.asarray(column))} values of {name} for {len(values)} clips")
    draws = draw(_scores, true, said, confidence, groups=people, n=n_boot, seed=seed)
    return {
        "n": len(values),
        **dict(zip(_SCORES, _scores(true, said, confidence), strict=True)),
        "coverage": 1.0 if abstained is None else float(1 - np.mean(np.asarray(abstained, dtype=bool))),
        "intervals": {name: list(interval(draws[:, i])) for i, name in enumerate(_SCORES)},
        "confusion": confusion(true, said, len(labels)).tolist(),
        "labels": list(labels),
        "groups": {kind: _by_group(column, true, said) for kind, column in kinds.items()},
    }


def render(report: Mapping[str, Any]) -> RenderableType:
    """A report as tables for `rich`: scores, confusion in per cent of the true class, and groups.

    Reads well from 60 columns on, and without colour. The worst groups come first.
    """
    groups = [_group_table(kind, found) for kind, found in report["groups"].items() if found]
    legend = Text("Confusion: row = true, column = predicted, in % of the row")
    return Group(
        Text(f"{report['n']:,} clips"), _score_table(report), legend, _confusion_table(report), *groups
    )


def _scores(true: NDArray[np.int64], said: NDArray[np.int64], confidence: NDArray[np.float64]) -> list[float]:
    """The values of `_SCORES`, in its order."""
    classes = [score(true, said) for score in (uar, accuracy, macro_f1, weighted_f1)]
    return [*classes, calibration_gap(confidence, true == said)]


def _class_indices(truth: Sequence[str] | NDArray[np.integer], labels: Sequence[str]) -> NDArray[np.int64]:
    index: dict[Any, int] = {name: i for i, name in enumerate(labels)}
    index.update({i: i for i in range(len(labels))})
    unknown = [name for name in truth if name not in index]
    if unknown:
        raise DataError(
            "label_unknown", f"true label {unknown[0]!r} is not one of the model's: {', '.join(labels)}"
        )
    return np.array([index[name] for name in truth], dtype=np.int64)


def people_of(
    speakers: Sequence[str | None] | None, corpora: Sequence[str | None] | None
) -> list[str | None] | None:
    """Speakers [N] by names that are unique: two corpora may both have a speaker 1. None without speakers."""
    if speakers is None:
        return None
    if corpora is None or len(set(corpora)) < 2:
        return list(speakers)
    pairs = zip(speakers, corpora, strict=True)
    return [None if speaker is None else f"{corpus}/{speaker}" for speaker, corpus in pairs]


def _by_group(
    column: Sequence[str | None] | None, true: NDArray[np.int64], said: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    found: dict[str, list[int]] = {}
    for i, name in enumerate(() if column is None else column):
        if name is not None:
            found.setdefault(name, []).append(i)
    return {name: _group_scores(true[items], said[items]) for name, items in sorted(found.items())}


def _group_scores(true: NDArray[np.int64], said: NDArray[np.int64]) -> dict[str, float]:
    return {"n": len(true), "uar": uar(true, said), "wa": accuracy(true, said)}


def _score_table(report: Mapping[str, Any]) -> Table:
    table = _table("Score", "", "95 % interval")
    for name, title in _SCORES.items():
        low, high = report["intervals"][name]
        table.add_row(title, Text(f"{report[name]:.3f}", style="bold"), f"{low:.3f} to {high:.3f}")
    table.add_row("Answered (coverage)", Text(f"{report['coverage']:.3f}", style="bold"), "")
    return table


def _confusion_table(report: Mapping[str, Any]) -> Table:
    labels = report["labels"]
    table = _table("True", *_short(labels), "clips")
    for i, (label, row) in enumerate(zip(labels, report["confusion"], strict=True)):
        total = sum(row)
        cells = [Text(_percent(count, total), "bold green" if i == j else "") for j, count in enumerate(row)]
        table.add_row(_name(label), *cells, f"{total:,}")
    return table


def _group_table(kind: str, groups: Mapping[str, Mapping[str, float]]) -> Table:
    table = _table(kind.capitalize(), "UAR", "WA", "clips")
    ranked = sorted(groups.items(), key=lambda item: (item[1]["uar"], item[0]))
    for name, scores in ranked[:_LISTED]:
        table.add_row(_name(name), f"{scores['uar']:.3f}", f"{scores['wa']:.3f}", f"{scores['n']:,}")
    if len(ranked) > _LISTED:
        table.add_row(Text(f"and {len(ranked) - _LISTED} better ones", style="dim"), "", "", "")
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(Text(first), max_width=26, no_wrap=True, overflow="ellipsis")
    for title in others:
        table.add_column(_name(title), justify="right", no_wrap=True)
    return table


def _percent(count: int, total: int) -> str:
    # Empty cells are dots, so that the errors stand out where there is no colour.
    return "." if count == 0 else f"{100 * count / total:.0f}"


def _short(labels: Sequence[str]) -> list[str]:
    """Labels cut to four letters, or to as many as tell them apart."""
    lengths = range(4, max(map(len, labels)) + 1)
    length = next((n for n in lengths if len({name[:n] for name in labels}) == len(labels)), None)
    return [name[:length] for name in labels]


def _name(text: str) -> Text:
    # Names come from manifests: a control character in one must not reach the terminal.
    return Text("".join(character if character.isprintable() else "?" for character in text))
