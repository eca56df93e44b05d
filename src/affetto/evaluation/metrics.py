"""Scores of predictions, and how far they can be trusted with the people that were there.

Classes are indices 0..C-1. Scores are pure functions of arrays; `bootstrap` puts an interval around any.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def confusion(truth: ArrayLike, predicted: ArrayLike, n_classes: int | None = None) -> NDArray[np.int64]:
    """Counts [C C]: row = true class, column = predicted class; truth and predicted are indices [N].

    Without `n_classes` the highest index that occurs ends the matrix. Raises ValueError when the lengths
    differ or an index is not in 0..C-1.
    """
    rows, columns = np.asarray(truth, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if rows.shape != columns.shape or rows.ndim != 1:
        raise ValueError(f"expected two arrays [N], got {list(rows.shape)} and {list(columns.shape)}")
    used = int(max(rows.max(), columns.max())) + 1 if rows.size else 0
    size = used if n_classes is None else n_classes
    if rows.size and (min(rows.min(), columns.min()) < 0 or used > size):
        raise ValueError(f"classes must be in 0..{size - 1}, got up to {used - 1}")
    return np.bincount(rows * size + columns, minlength=size**2).reshape(size, size)


def uar(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Unweighted average recall: the mean recall of the classes that occur in the truth; indices [N].

    Classes without a true item have no recall and are left out. NaN when there is no item at all.
    """
    matrix = confusion(truth, predicted)
    support = matrix.sum(axis=1)
    present = support > 0
    return float(np.mean(np.diag(matrix)[present] / support[present])) if present.any() else float("nan")


def accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Share of right answers, also called weighted accuracy; indices [N]. NaN when there is no item."""
    right = np.asarray(truth) == np.asarray(predicted)
    return float(right.mean()) if right.size else float("nan")


def macro_f1(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Mean F1 of the classes that occur in truth or prediction; indices [N]. NaN when there is no item."""
    scores, _, occurs = _f1(truth, predicted)
    return float(scores[occurs].mean()) if occurs.any() else float("nan")


def weighted_f1(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Mean F1 of the classes, weighted by their true items; indices [N]. NaN when there is no item."""
    scores, support, occurs = _f1(truth, predicted)
    return float(scores @ support / support.sum()) if occurs.any() else float("nan")


def multilabel_f1(truth: ArrayLike, probabilities: ArrayLike, thresholds: ArrayLike) -> float:
    """Mean over classes of the F1 of `probabilities >= thresholds`.

    truth [N C] of 0 and 1, probabilities [N C], thresholds [C] or one number. A class that neither occurs nor
    is predicted counts as 0, as in scikit-learn: a score on a sample that lacks a class is no full score.
    """
    true = np.asarray(truth, dtype=bool)
    said = np.asarray(probabilities) >= np.asarray(thresholds)
    hits = (true & said).sum(axis=0)
    return float(np.mean(2 * hits / np.maximum(true.sum(axis=0) + said.sum(axis=0), 1)))


def tune_thresholds(truth: ArrayLike, probabilities: ArrayLike) -> NDArray[np.float64]:
    """The threshold of each class that gives its highest F1: truth [N C], probabilities [N C] -> [C].

    Every cut between two neighbouring probabilities is tried; the answer lies midway, the middle of the gap
    generalising better than its edge. A class without true items gets 1, which only certainty reaches.
    """
    true = np.asarray(truth, dtype=bool)
    values = np.asarray(probabilities, dtype=np.float64)
    return np.array([_best_threshold(true[:, c], values[:, c]) for c in range(true.shape[1])])


def concordance(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Concordance correlation coefficient (Lin 1989) of two series [N], for dimensions such as valence.

    1 is equality; a shift or a different spread lowers it, unlike Pearson's. NaN when both are constant.
    """
    x, y = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return float(2 * np.mean((x - x.mean()) * (y - y.mean())) / spread) if spread > 0 else float("nan")


def equal_error_rate(same: ArrayLike, scores: ArrayLike) -> float:
    """The error rate of a verification at the threshold where both errors are equal; trials [N].

    same [N] bool: whether a trial compares a person with themself; scores [N]: higher means more alike. The
    share of the same people refused and of others let in are read off every threshold, and between two of
    them along a straight line. 0 is perfect, 0.5 is chance. NaN when one kind of trial does not occur.
    """
    true, values = np.asarray(same, dtype=bool), np.asarray(scores, dtype=np.float64)
    if not true.any() or true.all():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    ranked, true = values[order], true[order]
    last_of_tie = np.append(ranked[:-1] != ranked[1:], True)
    refused = np.append(1.0, 1.0 - (np.cumsum(true) / true.sum())[last_of_tie])
    let_in = np.append(0.0, (np.cumsum(~true) / (~true).sum())[last_of_tie])
    after = int(np.argmax(let_in >= refused))  # never 0: at first everyone is refused and nobody let in
    before = after - 1
    gaps = refused[before] - let_in[before], let_in[after] - refused[after]
    share = gaps[0] / (gaps[0] + gaps[1])
    return float(let_in[before] + share * (let_in[after] - let_in[before]))


def verification_trials(
    embeddings: ArrayLike, people: Sequence[Hashable], groups: Sequence[Hashable] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Every pair of items [N D] as a trial for `equal_error_rate`: same person or not, and the cosine.

    people [N]. With groups [N], such as corpora, only items of one group are compared: people of two corpora
    are told apart by their microphones.
    """
    vectors = np.asarray(embeddings, dtype=np.float64)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    rows, columns = np.triu_indices(len(vectors), 1)
    if groups is not None:
        group = _numbered(groups)
        comparable = group[rows] == group[columns]
        rows, columns = rows[comparable], columns[comparable]
    person = _numbered(people)
    return person[rows] == person[columns], (vectors @ vectors.T)[rows, columns]


def bootstrap(
    metric: Callable[..., float],
    *arrays: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    n: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of `metric(*arrays)` when the *people* are drawn again, see `draw` and `interval`."""
    return interval(draw(lambda *drawn: [metric(*drawn)], *arrays, groups=groups, n=n, seed=seed)[:, 0])


def draw(
    metrics: Callable[..., Sequence[float]],
    *arrays: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    n: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """K scores of `n` resamples of the items of the arrays [N ...]: the bootstrap of Efron (1979), [n K].

    groups [N] are speakers: whole speakers are drawn with replacement, because clips of one person are alike
    and clips drawn one by one would promise too much. An item whose group is None stands alone; without
    groups every item does. Raises ValueError for unequal lengths or without items.
    """
    columns = [np.asarray(array) for array in arrays]
    order, starts, sizes = _groups(groups, len(columns[0]))
    if n < 1 or not len(order):
        raise ValueError(f"expected at least one draw and one item, got {n} and {len(order)}")
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        drawn = generator.integers(len(starts), size=len(starts))
        length = sizes[drawn]
        within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        index = order[np.repeat(starts[drawn], length) + within]
        rows.append(metrics(*(column[index] for column in columns)))
    return np.array(rows, dtype=np.float64)


def interval(draws: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap draws [n] of one score; NaN draws do not count.

    With few speakers it is coarse and somewhat too narrow; with one speaker its width is 0.
    """
    values = np.asarray(draws, dtype=np.float64)
    defined = values[np.isfinite(values)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _numbered(names: Sequence[Hashable]) -> NDArray[np.int64]:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _f1(
    truth: ArrayLike, predicted: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """F1 of each class, its number of true items, and whether it occurs at all: each [C]."""
    matrix = confusion(truth, predicted)
    support, said = matrix.sum(axis=1), matrix.sum(axis=0)
    return 2 * np.diag(matrix) / np.maximum(support + said, 1), support, support + said > 0


def _best_threshold(truth: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    if not truth.any():
        return 1.0
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + truth.sum())
    last_of_tie = np.append(ranked[:-1] != ranked[1:], True)
    best = int(np.argmax(np.where(last_of_tie, f1, -1.0)))
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def _groups(
    groups: Sequence[Hashable] | None, n_items: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Items [N] ordered by group, and where each group starts in that order and how many items it has [G]."""
    if groups is None:
        groups = [None] * n_items
    if len(groups) != n_items:
        raise ValueError(f"{len(groups)} groups for {n_items} items")
    numbers: dict[Hashable, int] = {}
    keys = [("alone", i) if group is None else ("group", group) for i, group in enumerate(groups)]
    of_item = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    sizes = np.bincount(of_item, minlength=len(numbers))
    return np.argsort(of_item, kind="stable"), np.cumsum(sizes) - sizes, sizes
