"""Scores over seeds and paired differences, against their definitions written out."""

from __future__ import annotations

import numpy as np
import pytest

from affetto.evaluation import metrics
from affetto.evaluation.comparison import METRICS, difference, estimate

RNG = np.random.default_rng(5)
TRUTH = RNG.integers(0, 2, 60)
PEOPLE = [f"p{i // 6}" for i in range(60)]


def answers(right, seeds=3, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random((seeds, len(TRUTH))) < right, TRUTH, 1 - TRUTH)


def test_mean_and_deviation_are_those_over_seeds():
    said = answers(0.8)
    values = (said == TRUTH).mean(axis=1)
    found = estimate("accuracy", TRUTH, said, groups=PEOPLE)
    assert found.mean == pytest.approx(values.mean())
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    assert estimate("accuracy", TRUTH, said[:1]).deviation == 0.0


def resampled(statistic, n=1000, seed=0):
    """The definition: people drawn again, all their clips with them, by the generator of that seed."""
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(n):
        people = rng.integers(10, size=10)
        draws.append(statistic(np.concatenate([np.arange(6 * p, 6 * p + 6) for p in people])))
    return np.array(draws)


def test_the_interval_is_a_bootstrap_over_people():
    said = answers(0.8)
    draws = resampled(lambda rows: (said == TRUTH)[:, rows].mean())
    found = estimate("accuracy", TRUTH, said, groups=PEOPLE)
    np.testing.assert_allclose([found.low, found.high], np.quantile(draws, [0.025, 0.975]))


def test_the_difference_is_paired():
    ours, theirs = answers(0.85), answers(0.75, seeds=2, seed=1)
    draws = resampled(lambda rows: (ours == TRUTH)[:, rows].mean() - (theirs == TRUTH)[:, rows].mean(), n=500)
    found = difference("accuracy", TRUTH, ours, theirs, groups=PEOPLE, n=500)
    assert found.mean == pytest.approx((ours == TRUTH).mean() - (theirs == TRUTH).mean())
    np.testing.assert_allclose([found.low, found.high], np.quantile(draws, [0.025, 0.975]))
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    assert found.p == pytest.approx(min(1.0, 2 * (tail + 1) / 501))


def test_equal_answers_do_not_differ_and_opposite_ones_do():
    said = answers(0.8)
    same = difference("uar", TRUTH, said, said, groups=PEOPLE, n=200)
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    assert difference("uar", TRUTH, TRUTH[None], 1 - TRUTH[None], n=200).p == pytest.approx(2 / 201)


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_those_of_metrics(metric):
    """Also with classes that nobody says, or that have no clip."""
    rng = np.random.default_rng(1)
    truth, said = rng.integers(0, 3, 50) * 2, rng.integers(0, 5, (4, 50))
    expected = np.mean([getattr(metrics, metric)(truth, row) for row in said])
    assert estimate(metric, truth, said, n=2).mean == pytest.approx(expected)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="do not match"):
        estimate("uar", [0, 1], [[0, 1, 1]])
    with pytest.raises(ValueError, match="do not match"):
        estimate("uar", [0, 1], [[0, 1]], groups=["a"])


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_is_one_for_the_truth(metric):
    assert estimate(metric, TRUTH, [TRUTH, TRUTH], n=10).mean == 1.0


def test_the_p_value_of_chance_is_rarely_small():
    """Under no difference, p < 0.1 in about a tenth of trials."""
    found = [
        difference("accuracy", TRUTH, answers(0.7, 1, i), answers(0.7, 1, 1000 + i), n=100).p < 0.1
        for i in range(60)
    ]
    assert np.mean(found) < 0.3
