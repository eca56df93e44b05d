"""Temperatures and thresholds for a bundle, from the answers of its own parts to held-out people.

Every precision, task and subset of modalities gets its own: int8 is not fp32, and two modalities are surer
than one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from affetto.bundle import FUSION, Bundle, Calibration, TaskInfo, subset_key
from affetto.evaluation.calibration import apply_temperature, fit_temperature, threshold_for_coverage
from affetto.learn.export.parts import Inputs, Parts, subsets
from affetto.learn.models.recogniser import VOTE
from affetto.records import Track

#: The share of held-out answers that is given: one in twenty may be lost, also of people harder than these.
COVERAGE = 0.96
_FEWEST = 20  # items; a temperature from less is noise


@dataclass(frozen=True)
class Labelled:
    """An item with what is true of it: task to shares [C] (single-label) or 0 and 1 [C] (multi-label)."""

    inputs: Inputs
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)


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


def _by_subset(
    task: TaskInfo,
    runner: Parts,
    items: Sequence[Labelled],
    tracks: Sequence[Mapping[str, Track]],
    coverage: float,
) -> dict[str, Calibration]:
    found = {}
    for subset in subsets(runner.modalities):
        able = [
            row
            for row, item in enumerate(items)
            if task.name in item.targets and all(name in tracks[row] for name in subset)
        ]
        # Items as they come before items of which the rest must be left out.
        exact = [row for row in able if len(tracks[row]) == len(subset)]
        rows = exact if len(exact) >= _FEWEST else able
        if len(rows) >= _FEWEST:
            answers = [runner.fuse({name: tracks[row][name] for name in subset}) for row in rows]
            targets = np.stack([items[row].targets[task.name] for row in rows])
            views = [view for view in (*task.views, VOTE) if view in subset or view in ("fused", VOTE)]
            logits = {v: np.stack([answer[f"{task.name}.{v}"][0] for answer in answers]) for v in views}
            fit = _single_label if task.kind == "single-label" else _multi_label
            found[subset_key(subset)] = fit(task, logits, targets, coverage)
    return found


def _single_label(
    task: TaskInfo, logits: Mapping[str, np.ndarray], targets: np.ndarray, coverage: float
) -> Calibration:
    temperatures = {view: fit_temperature(values, targets) for view, values in logits.items()}
    confidence = apply_temperature(logits[VOTE], temperatures[VOTE]).max(axis=1)
    return Calibration(
        temperatures=temperatures, abstain_below=min(1.0, threshold_for_coverage(confidence, coverage))
    )


def _multi_label(
    task: TaskInfo, logits: Mapping[str, np.ndarray], targets: np.ndarray, coverage: float
) -> Calibration:
    """The threshold of each label that gives it the best F1."""
    shares = 1 / (1 + np.exp(-logits[VOTE].astype(np.float64)))
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
