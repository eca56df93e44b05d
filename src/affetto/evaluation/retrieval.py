"""How well one thing finds another: similarities and what belongs together in, figures out.

A gallery often holds several right answers (every picture of a seven is right for "seven"), and scores may be
equal. `positives` [Q G] says what is right. A tie is broken by chance: a figure is its expectation over all
orders of the items with one score, so that a model that answers everything alike scores what guessing would.
Q queries, G items of the gallery.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affetto.errors import DataError


def recall_at(similarities: ArrayLike, positives: ArrayLike, k: int) -> float:
    """R@k: the share of queries with a right item among the k nearest. Queries without any are left out.

    similarities and positives: [Q G]. Raises DataError `nothing_to_predict` when no query has a right item.
    """
    scores, right = _checked(similarities, positives)
    return float(np.mean([_chance_of_hit(s, r, k) for s, r in zip(scores, right, strict=True)]))


def mean_reciprocal_rank(similarities: ArrayLike, positives: ArrayLike) -> float:
    """The mean of 1 / rank of the nearest right item; errors as in `recall_at`."""
    scores, right = _checked(similarities, positives)
    return float(np.mean([_expected_reciprocal(s, r) for s, r in zip(scores, right, strict=True)]))


def retrieval(
    similarities: ArrayLike, positives: ArrayLike, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """`recall@k` for every k, `mrr`, and the numbers of `queries`, `gallery` and mean right items a query."""
    scores, right = _checked(similarities, positives)
    return {
        **{f"recall@{k}": recall_at(scores, right, k) for k in ks},
        "mrr": mean_reciprocal_rank(scores, right),
        "queries": len(scores),
        "gallery": scores.shape[1],
        "positives": float(right.sum(axis=1).mean()),
    }


def _checked(similarities: ArrayLike, positives: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores, right = np.asarray(similarities, np.float64), np.asarray(positives, np.bool_)
    if scores.ndim != 2 or scores.shape != right.shape:
        shapes = f"{list(scores.shape)} and {list(right.shape)}"
        raise DataError(
            "nothing_to_predict", f"similarities and positives are {shapes}: expected one shape [Q G]"
        )
    asked = right.any(axis=1)
    if not asked.any():
        raise DataError(
            "nothing_to_predict", "no query has a right item in the gallery: nothing can be found"
        )
    return scores[asked], right[asked]


def _best(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Of one query: how many items lie above its best right one, and how many are level with it, in all and
    right."""
    level = scores[right].max()
    above = int((scores > level).sum())
    ties = scores == level
    return above, int(ties.sum()), int((ties & right).sum())


def _chance_of_hit(scores: NDArray[np.float64], right: NDArray[np.bool_], k: int) -> float:
    above, ties, good = _best(scores, right)
    places = min(max(k - above, 0), ties)
    # No right item among `places` drawn from the ties without putting back.
    miss = np.prod([(ties - good - i) / (ties - i) for i in range(places)]) if places else 1.0
    return 1.0 - max(float(miss), 0.0)


def _expected_reciprocal(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    above, ties, good = _best(scores, right)
    chance, before = 0.0, 1.0  # that no right item came before this place
    for place in range(ties - good + 1):
        here = good / (ties - place)
        chance += before * here / (above + place + 1)
        before *= 1.0 - here
    return chance
