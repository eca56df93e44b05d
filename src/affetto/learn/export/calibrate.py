"""Temperatures, vector scaling and thresholds for a bundle, from the answers of its own parts to held-out people.

Every precision, task and subset of modalities gets its own: int8 is not fp32, and two modalities are surer
than one. Where it is known whose the items are, a temperature serves the harder half of the people. A class that a
model says too often of one person it may say too seldom of the next. So vector scaling takes the place of the
temperatures only where it foresees the harder half of those better on whom it was not fitted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from affetto.bundle import FUSION, Bundle, Calibration, TaskInfo, VectorScale, subset_key
from affetto.evaluation.calibration import (
    apply_temperature,
    apply_vector_scaling,
    fit_temperature,
    fit_vector_scaling,
    nll,
    threshold_for_coverage,
)
from affetto.learn.export.parts import Inputs, Parts, subsets
from affetto.learn.models.recogniser import VOTE
from affetto.records import Track

#: The share of held-out answers that is given: one in twenty may be lost, also of people harder than these.
COVERAGE = 0.96
_FEWEST = 20  # items; a temperature from less is noise
_FEWEST_PEOPLE = 3  # each left out in turn, so that at least two are fitted on


@dataclass(frozen=True)
class Labelled:
    """An item with what is true of it: task to shares [C] (single-label) or 0 and 1 [C] (multi-label); whose it is,
    None where nobody knows; and whether it was composed of several people's, `person` being the one who speaks."""

    inputs: Inputs
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)
    person: str | None = None
    composed: bool = False


@dataclass(frozen=True)
class Said:
    """What the views said of N items by a subset of modalities: logits [N C] by view, with the vote; targets [N C]
    as in `Labelled`, the people, and whether no item was composed."""

    subset: tuple[str, ...]
    logits: Mapping[str, np.ndarray]
    targets: np.ndarray
    people: Sequence[str | None]
    whole: bool

    def whose(self, view: str) -> Sequence[str | None]:
        """Whose each item is to a view: of what was composed, only the speech is the person's."""
        hears = view == "speech" or (view not in self.subset and "speech" in self.subset)
        return self.people if self.whole or hears else [None] * len(self.people)


class Runner(Protocol):
    """A model whose fusion can be asked again and again: `Parts`, or one in torch."""

    def fuse(self, tracks: Mapping[str, Track]) -> Mapping[str, np.ndarray]:
        """Encoded Tracks of one item to logits [1 C] by `task.view`."""


def fit_calibration(
    bundle: Bundle, items: Sequence[Labelled], *, coverage: float = COVERAGE
) -> dict[str, dict[str, dict[str, Calibration]]]:
    """`BundleInfo.calibration` for every precision that the bundle has.

    A subset is fitted on the items that have just its modalities, or where these are too few on all that have
    them and more (the rest of an item is left out), when there are enough; the threshold of abstention keeps
    the surest `coverage` of them.
    """
    found = {}
    for precision in bundle.precisions():
        names = (*bundle.info.parts.modalities(), FUSION)
        runner = Parts({name: bundle.read_part(name, precision) for name in names})
        tracks = runner.encode_items(item.inputs for item in items)
        found[precision] = {
            task.name: _by_subset(task, runner, items, tracks, coverage)
            for task in bundle.info.tasks
            if task.kind in ("single-label", "multi-label")
        }
    return found


def refitted(
    before: Mapping[str, Mapping[str, Mapping[str, Calibration]]],
    fitted: Mapping[str, Mapping[str, Mapping[str, Calibration]]],
) -> dict[str, dict[str, dict[str, Calibration]]]:
    """A bundle's calibration with what was fitted in the place of what it had; all else stays."""
    return {
        precision: {
            task: {**before.get(precision, {}).get(task, {}), **fitted.get(precision, {}).get(task, {})}
            for task in {**before.get(precision, {}), **fitted.get(precision, {})}
        }
        for precision in {**before, **fitted}
    }


def without_vectors(
    calibration: Mapping[str, Mapping[str, Mapping[str, Calibration]]],
    tasks: Collection[str],
    modalities: Collection[str],
) -> dict[str, dict[str, dict[str, Calibration]]]:
    """A bundle's calibration for heads that have moved: of these tasks, subsets with any of these modalities keep
    their temperatures alone. What a class was said too often, the new heads may say no longer."""

    def kept(task: str, subset: str, found: Calibration) -> Calibration:
        moved = task in tasks and set(subset.split("+")) & set(modalities)
        return found.model_copy(update={"vectors": {}}) if moved else found

    return {
        precision: {
            task: {subset: kept(task, subset, found) for subset, found in subsets.items()}
            for task, subsets in by_task.items()
        }
        for precision, by_task in calibration.items()
    }


def _by_subset(
    task: TaskInfo,
    runner: Parts,
    items: Sequence[Labelled],
    tracks: Sequence[Mapping[str, Track]],
    coverage: float,
) -> dict[str, Calibration]:
    return {
        subset_key(said.subset): (
            _single_label(said, coverage)
            if task.kind == "single-label"
            else _multi_label(task, said.logits[VOTE], said.targets)
        )
        for said in said_by_subset(
            task.name, task.views, runner, items, tracks, subsets(runner.modalities), _FEWEST
        )
    }


def said_by_subset(
    task: str,
    views: Sequence[str],
    runner: Runner,
    items: Sequence[Labelled],
    tracks: Sequence[Mapping[str, Track]],
    asked: Sequence[tuple[str, ...]],
    fewest: int,
) -> Iterator[Said]:
    """What a model says of held-out items by each of the subsets `asked` that has `fewest` of them or more.

    Items that have just these modalities come before those of which the rest must be left out. `tracks` are the
    items, encoded.
    """
    for subset in asked:
        able = [
            row
            for row, item in enumerate(items)
            if task in item.targets and all(name in tracks[row] for name in subset)
        ]
        exact = [row for row in able if len(tracks[row]) == len(subset)]
        rows = exact if len(exact) >= fewest else able
        if len(rows) < fewest:
            continue
        answers = [runner.fuse({name: tracks[row][name] for name in subset}) for row in rows]
        heard = [view for view in (*views, VOTE) if view in subset or view in ("fused", VOTE)]
        yield Said(
            subset,
            {view: np.stack([answer[f"{task}.{view}"][0] for answer in answers]) for view in heard},
            np.stack([items[row].targets[task] for row in rows]),
            [items[row].person for row in rows],
            whole=not any(items[row].composed for row in rows),
        )


def _single_label(said: Said, coverage: float) -> Calibration:
    """The vote decides for all views, so that what a modality said and the answer do not part. Items that are not
    `whole` are of several people, of whom none can be left out, and keep to temperatures."""
    logits, targets = said.logits, said.targets
    temperatures = {
        view: fit_temperature(values, targets, said.whose(view)) for view, values in logits.items()
    }
    vectors = {}
    shares = apply_temperature(logits[VOTE], temperatures[VOTE])
    if said.whole and prefers_vectors(logits[VOTE], targets, said.people):
        fitted = {view: fit_vector_scaling(values, targets) for view, values in logits.items()}
        vectors = {view: VectorScale(scale=tuple(s), bias=tuple(b)) for view, (s, b) in fitted.items()}
        shares = apply_vector_scaling(logits[VOTE], *fitted[VOTE])
    return Calibration(
        temperatures=temperatures,
        vectors=vectors,
        abstain_below=min(1.0, threshold_for_coverage(shares.max(axis=1), coverage)),
    )


def prefers_vectors(logits: np.ndarray, targets: np.ndarray, people: Sequence[str | None]) -> bool:
    """Whether vector scaling foresees people on whom it was not fitted better than a temperature does.

    logits [N C], targets [N C] shares, people [N]. Each person is left out in turn; what counts is, as for
    temperatures, the mean negative log-likelihood of that half of the people who are foreseen worst. Fewer than 3
    people, or an item that is nobody's, prove nothing: False.
    """
    if None in people or len(set(people)) < _FEWEST_PEOPLE:
        return False
    whose, losses = np.array(people), []
    for person in np.unique(whose):
        seen, unseen = whose != person, whose == person
        temperature = fit_temperature(logits[seen], targets[seen], whose[seen].tolist())
        by_vector = apply_vector_scaling(logits[unseen], *fit_vector_scaling(logits[seen], targets[seen]))
        said = (apply_temperature(logits[unseen], temperature), by_vector)
        losses.append([nll(shares, targets[unseen]) for shares in said])
    by_temperatures, by_vectors = np.sort(losses, axis=0)[len(losses) // 2 :].mean(axis=0)
    return bool(by_vectors < by_temperatures)


def _multi_label(task: TaskInfo, logits: np.ndarray, targets: np.ndarray) -> Calibration:
    """The threshold of each label that gives it the best F1."""
    shares = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return Calibration(
        label_thresholds={
            name: _best_threshold(shares[:, i], targets[:, i] > 0.5) for i, name in enumerate(task.labels)
        }
    )


def _best_threshold(shares: np.ndarray, true: np.ndarray) -> float:
    """The threshold in steps of 0.01 with the highest F1; of equals the one nearest to one half."""
    candidates = np.arange(1, 100) / 100
    said = shares[None, :] >= candidates[:, None]
    hits = (said & true).sum(axis=1)
    scores = 2 * hits / np.maximum(said.sum(axis=1) + true.sum(), 1)
    best = candidates[scores >= scores.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])
