"""Answers of finished runs to rows of a table: scores with intervals, and differences from one modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affetto.evaluation.comparison import METRICS, Difference, Estimate, difference, estimate
from affetto.learn.compare.runs import SILENT, Comparison, Result, Tested, subsets

N_BOOT = 1000


@dataclass(frozen=True)
class Row:
    """One model. scores: subset of modalities to metric to its score; the first subset is all of them.

    better: the difference from the table's reference, None of that one and where there is none.
    """

    variant: str
    alone: bool
    seeds: int
    scores: Mapping[str, Mapping[str, Estimate]]
    better: Difference | None
    parameters: int
    step_ms: float

    @property
    def whole(self) -> Mapping[str, Estimate]:
        """The scores with all of the model's modalities."""
        return next(iter(self.scores.values()))


@dataclass(frozen=True)
class Table:
    """Rows in the order of the variants. `reference` is the best single modality, by `metric` on the test; the
    first variant where there is no single one; None where there is nothing to compare with."""

    task: str
    metric: str
    clips: int
    people: int
    reference: str | None
    rows: tuple[Row, ...]


def make_table(comparison: Comparison, metric: str = "accuracy") -> Table:
    """The table of a comparison; `metric` picks the reference and is what differences are of.

    The best single modality is chosen on the test clips themselves, which makes it harder to beat.
    """
    tested = comparison.tested
    runs: dict[str, list[Result]] = {variant.name: [] for variant in comparison.variants}
    for result in comparison.results:
        runs[result.variant].append(result)
    scores = {name: _scores(found, tested) for name, found in runs.items()}
    single = [variant.name for variant in comparison.variants if variant.alone]
    best = max(single, key=lambda name: next(iter(scores[name].values()))[metric].mean, default=None)
    if best is None and len(runs) > 1:
        best = comparison.variants[0].name
    rows = []
    for variant in comparison.variants:
        found = runs[variant.name]
        better = None
        if best is not None and best != variant.name:
            better = _difference(found, runs[best], tested, metric)
        rows.append(
            Row(
                variant.name,
                variant.alone is not None,
                len(found),
                scores[variant.name],
                better,
                found[0].parameters,
                float(np.median([result.step_ms for result in found])),
            )
        )
    people = len({person for person in tested.people if person is not None})
    return Table(tested.task, metric, len(tested.ids), people, best, tuple(rows))


def modalities_of(table: Table) -> tuple[str, ...]:
    """The modalities of the widest model."""
    widest = max((next(iter(row.scores)).split("+") for row in table.rows), key=len)
    return tuple(widest)


def missing(table: Table) -> list[tuple[str, str]]:
    """(what is missing, subset that is left) for every proper subset, one modality missing first."""
    everything = modalities_of(table)
    return [
        (" and ".join(name for name in everything if name not in left), "+".join(left))
        for left in subsets(everything)[1:]
    ]


def _scores(runs: Sequence[Result], tested: Tested) -> dict[str, dict[str, Estimate]]:
    found = {}
    for subset in runs[0].answers:
        answers = _stacked(runs, subset)
        heard = (answers != SILENT).all(axis=0)
        if heard.any():
            truth, people = _of(tested, heard)
            found[subset] = {
                name: estimate(name, truth, answers[:, heard], groups=people, n=N_BOOT) for name in METRICS
            }
    return found


def _difference(
    runs: Sequence[Result], reference: Sequence[Result], tested: Tested, metric: str
) -> Difference:
    ours, theirs = (_stacked(found, next(iter(found[0].answers))) for found in (runs, reference))
    heard = (ours != SILENT).all(axis=0) & (theirs != SILENT).all(axis=0)
    truth, people = _of(tested, heard)
    return difference(metric, truth, ours[:, heard], theirs[:, heard], groups=people, n=N_BOOT)


def _stacked(runs: Sequence[Result], subset: str) -> NDArray[np.int64]:
    return np.array([result.answers[subset] for result in runs])


def _of(tested: Tested, rows: NDArray[np.bool_]) -> tuple[NDArray[np.int64], list[str | None]]:
    return np.array(tested.truth)[rows], [p for p, kept in zip(tested.people, rows, strict=True) if kept]
