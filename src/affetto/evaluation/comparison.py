"""Several models on the same clips, each trained with several seeds: means, intervals, and paired differences.

Answers are classes [S N]: S seeds, N clips, the same clips in the same order for every model. What varies with
training shows in the deviation over seeds; what varies with the people tested shows in the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affetto.evaluation.metrics import interval

_Floats = NDArray[np.float64]


def _accuracy(matrices: _Floats) -> _Floats:
    return _hits(matrices).sum(axis=-1) / matrices.sum(axis=(-2, -1))


def _uar(matrices: _Floats) -> _Floats:
    support = matrices.sum(axis=-1)
    recall = _hits(matrices) / np.maximum(support, 1)
    return recall.sum(axis=-1) / (support > 0).sum(axis=-1)


def _macro_f1(matrices: _Floats) -> _Floats:
    used = matrices.sum(axis=-1) + matrices.sum(axis=-2)
    scores = 2 * _hits(matrices) / np.maximum(used, 1)
    return scores.sum(axis=-1) / (used > 0).sum(axis=-1)


def _hits(matrices: _Floats) -> _Floats:
    return np.diagonal(matrices, axis1=-2, axis2=-1)


#: The scores of `metrics`, of many confusion matrices at once: [.. C C] -> [..].
METRICS: Mapping[str, Callable[[_Floats], _Floats]] = {
    "accuracy": _accuracy,
    "uar": _uar,
    "macro_f1": _macro_f1,
}


@dataclass(frozen=True)
class Estimate:
    """A score: its mean over seeds, their standard deviation, the 95 % interval of the mean over people."""

    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A model's mean score less a reference's on the same clips, its 95 % interval, and its p value."""

    mean: float
    low: float
    high: float
    p: float


def estimate(
    metric: str,
    truth: ArrayLike,
    answers: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    n: int = 1000,
    seed: int = 0,
) -> Estimate:
    """A model's score: truth [N], answers [S N], groups [N] the speakers (None: an item stands alone).

    The deviation is that of a sample (S - 1), 0 for a single seed. The interval is a bootstrap (Efron 1979):
    people are drawn again with all their clips, and the mean over seeds is taken on the same people. Raises
    ValueError for unequal lengths.
    """
    counts = _counts(truth, answers, groups)
    values = METRICS[metric](counts.sum(axis=0))
    draws = _means(metric, counts, n, seed)
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return Estimate(float(values.mean()), spread, *interval(draws))


def difference(
    metric: str,
    truth: ArrayLike,
    answers: ArrayLike,
    reference: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    n: int = 1000,
    seed: int = 0,
) -> Difference:
    """How much better than a reference: truth [N], answers [S N], reference [R N], groups [N] the speakers.

    A paired bootstrap over people (Efron and Tibshirani 1993): both models answer for the same people in
    every draw. p is two-sided, twice the smaller share of draws on either side of 0, at least 2 / (n + 1).
    Raises ValueError for unequal lengths.
    """
    ours, theirs = (_counts(truth, said, groups) for said in (answers, reference))
    draws = _means(metric, ours, n, seed) - _means(metric, theirs, n, seed)
    gap = METRICS[metric](ours.sum(axis=0)).mean() - METRICS[metric](theirs.sum(axis=0)).mean()
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return Difference(float(gap), *interval(draws), min(1.0, 2 * (tail + 1) / (n + 1)))


def _counts(truth: ArrayLike, answers: ArrayLike, groups: Sequence[Hashable] | None) -> _Floats:
    """Confusion matrices of every person and seed [G S C C]: row = true class, column = answered class.

    Scores of drawn people are scores of their summed matrices, so a thousand draws cost one product.
    """
    true, said = np.asarray(truth), np.asarray(answers)
    people = [None] * len(true) if groups is None else groups
    if said.ndim != 2 or said.shape[1] != len(true) or len(people) != len(true) or not len(true):
        raise ValueError(
            f"{len(true)} clips, answers {list(said.shape)} and {len(people)} groups do not match"
        )
    numbers: dict[Hashable, int] = {}
    keys = [("alone", i) if name is None else ("person", name) for i, name in enumerate(people)]
    person = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
    classes = int(max(true.max(), said.max())) + 1
    found = np.zeros((len(numbers), len(said), classes, classes))
    np.add.at(found, (person, np.arange(len(said))[:, None], true, said), 1.0)
    return found


def _means(metric: str, counts: _Floats, n: int, seed: int) -> _Floats:
    """The mean over seeds for `n` draws of the people [n]; the same people for one seed and number."""
    rng = np.random.default_rng(seed)
    people = len(counts)
    times = np.stack([np.bincount(rng.integers(people, size=people), minlength=people) for _ in range(n)])
    return METRICS[metric](np.tensordot(times.astype(np.float64), counts, axes=1)).mean(axis=1)
