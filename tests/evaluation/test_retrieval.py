"""Figures of retrieval against counting by hand, and ties against drawing them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from affetto.errors import DataError
from affetto.evaluation.retrieval import mean_reciprocal_rank, recall_at, retrieval


def test_without_ties_it_is_counting() -> None:
    scores = [[0.9, 0.5, 0.1], [0.2, 0.3, 0.4], [0.6, 0.7, 0.1]]
    right = [[1, 0, 0], [1, 1, 0], [0, 0, 1]]  # best right items are first, second and third
    assert recall_at(scores, right, 1) == pytest.approx(1 / 3)
    assert recall_at(scores, right, 2) == pytest.approx(2 / 3)
    assert recall_at(scores, right, 3) == 1.0
    assert mean_reciprocal_rank(scores, right) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


@pytest.mark.parametrize("seed", range(8))
def test_ties_are_the_mean_over_all_orders(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, right = rng.integers(0, 3, 6), rng.random(6) < 0.4
    right[rng.integers(6)] = True
    ranks = []
    for order in itertools.permutations(range(6)):
        ranked = sorted(order, key=lambda i: -scores[i])  # stable: equal scores stay in the drawn order
        ranks.append(1 + next(place for place, i in enumerate(ranked) if right[i]))
    for k in (1, 2, 4):
        assert recall_at([scores], [right], k) == pytest.approx(np.mean(np.array(ranks) <= k))
    assert mean_reciprocal_rank([scores], [right]) == pytest.approx(np.mean(1 / np.array(ranks)))


def test_answering_everything_alike_scores_what_guessing_would() -> None:
    right = np.zeros((4, 10), bool)
    right[:, :3] = True
    assert recall_at(np.zeros((4, 10)), right, 1) == pytest.approx(0.3)


def test_queries_without_a_right_item_are_left_out() -> None:
    found = retrieval([[1.0, 0.0], [1.0, 0.0]], [[1, 0], [0, 0]], ks=(1,))
    assert found == {"recall@1": 1.0, "mrr": 1.0, "queries": 1, "gallery": 2, "positives": 1.0}
    for scores, right in (([[1.0]], [[0]]), ([[1.0, 2.0]], [[1]])):
        with pytest.raises(DataError) as caught:
            recall_at(scores, right, 1)
        assert caught.value.code == "nothing_to_predict"
