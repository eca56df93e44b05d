"""Several models on the same clips, each trained with several seeds: means, intervals, and paired differences.

Answers are classes [S N]: S seeds, N clips, the same clips in the same order for every model. What varies with
training shows in the deviation over seeds; what varies with the people tested shows in the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affetto.evaluation.metrics import accuracy, draw, interval, macro_f1, uar

METRICS: Mapping[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "accuracy": accuracy,
    "uar": uar,
    "macro_f1": macro_f1,
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
    """A model's score: truth [N], answers [S N], groups [N] the speakers.

    The deviation is that of a sample (S - 1), 0 for a single seed. The interval is a bootstrap: people are
    drawn again, and the mean over all seeds is taken on the same people (`metrics.draw`). Raises ValueError
    for unequal lengths.
    """
    columns = np.asarray(answers).T
    values = _over_seeds(metric, np.asarray(truth), columns)
    draws = draw(
        lambda t, a: [_over_seeds(metric, t, a).mean()], truth, columns, groups=groups, n=n, seed=seed
    )
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return Estimate(float(values.mean()), spread, *interval(draws[:, 0]))


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
    ours, theirs = np.asarray(answers).T, np.asarray(reference).T

    def gap(t: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]) -> list[float]:
        return [_over_seeds(metric, t, a).mean() - _over_seeds(metric, t, b).mean()]

    draws = draw(gap, truth, ours, theirs, groups=groups, n=n, seed=seed)[:, 0]
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (n + 1))
    return Difference(gap(np.asarray(truth), ours, theirs)[0], *interval(draws), p)


def _over_seeds(metric: str, truth: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """The score of each seed [S]: truth [N], columns [N S]."""
    return np.array([METRICS[metric](truth, column) for column in columns.T])
