"""Scores against formulas written out, values of scikit-learn, and people drawn by hand."""

import numpy as np
import pytest

from affetto.evaluation.metrics import (
    accuracy,
    bootstrap,
    concordance,
    confusion,
    draw,
    equal_error_rate,
    interval,
    macro_f1,
    multilabel_f1,
    tune_thresholds,
    uar,
    verification_trials,
    weighted_f1,
)

# Thirty answers to five classes, of which class 4 never is true and class 3 is never predicted.
TRUTH = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3]
SAID = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 4, 1, 1, 1, 1, 1, 0, 0, 2, 2, 2, 2, 2, 0, 4, 0, 1, 2, 2]

# Made once by scikit-learn 1.9.1: balanced_accuracy_score, accuracy_score, f1_score(average="macro" and
# "weighted", zero_division=0).
SKLEARN = {
    "uar": 0.4895833333,
    "accuracy": 0.5666666667,
    "macro_f1": 0.3726190476,
    "weighted_f1": 0.5476190476,
}


def per_class(truth, said, classes):
    """(recall, F1, support) of each class by counting; None where undefined."""
    rows = []
    for c in classes:
        hit = sum(t == c and s == c for t, s in zip(truth, said, strict=True))
        true, answered = truth.count(c), said.count(c)
        f1 = 2 * hit / (true + answered) if true + answered else None
        rows.append((hit / true if true else None, f1, true))
    return rows


def random_answers(seed, n=200, n_classes=7):
    rng = np.random.default_rng(seed)
    truth = rng.choice(n_classes - 1, n)  # the last class never is true
    said = np.where(rng.random(n) < 0.6, truth, rng.integers(0, n_classes, n))
    return truth.tolist(), said.tolist()


@pytest.mark.parametrize("answers", [(TRUTH, SAID), *(random_answers(seed) for seed in range(5))])
def test_scores_are_their_formulas(answers):
    truth, said = answers
    rows = per_class(truth, said, range(7))
    recalls = [recall for recall, _, _ in rows if recall is not None]
    f1 = [score for _, score, _ in rows if score is not None]
    assert uar(truth, said) == pytest.approx(sum(recalls) / len(recalls))
    assert macro_f1(truth, said) == pytest.approx(sum(f1) / len(f1))
    weighted = sum(score * support for _, score, support in rows if score is not None) / len(truth)
    assert weighted_f1(truth, said) == pytest.approx(weighted)
    right = sum(t == s for t, s in zip(truth, said, strict=True))
    assert accuracy(truth, said) == pytest.approx(right / len(truth))


def test_scores_are_scikit_learns():
    assert uar(TRUTH, SAID) == pytest.approx(SKLEARN["uar"], abs=1e-9)
    assert accuracy(TRUTH, SAID) == pytest.approx(SKLEARN["accuracy"], abs=1e-9)
    assert macro_f1(TRUTH, SAID) == pytest.approx(SKLEARN["macro_f1"], abs=1e-9)
    assert weighted_f1(TRUTH, SAID) == pytest.approx(SKLEARN["weighted_f1"], abs=1e-9)


def test_confusion_counts_truth_by_row():
    matrix = confusion([0, 0, 1, 2], [0, 1, 1, 0], 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert confusion([0, 2], [1, 2]).shape == (3, 3)
    assert confusion([], [], 3).tolist() == np.zeros((3, 3)).tolist()


@pytest.mark.parametrize(
    ("truth", "said"), [([0, 3], [0, 0]), ([0, 0], [-1, 0]), ([0], [0, 1]), ([[0]], [[0]])]
)
def test_confusion_refuses_what_has_no_place(truth, said):
    with pytest.raises(ValueError, match=r"classes|two arrays"):
        confusion(truth, said, 3)


def test_a_class_without_true_items_has_no_recall():
    assert uar([0, 0, 1], [0, 2, 1]) == pytest.approx(0.75)


def test_no_items_have_no_score():
    for score in (uar, accuracy, macro_f1, weighted_f1):
        assert np.isnan(score([], []))


MULTI_TRUTH = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
MULTI_PROBABILITIES = np.array(
    [[0.9, 0.2, 0.4], [0.4, 0.7, 0.1], [0.6, 0.3, 0.5], [0.7, 0.4, 0.2], [0.3, 0.1, 0.3], [0.2, 0.6, 0.6]]
)


def test_multilabel_f1_is_its_formula():
    # Class 0: 2 hits of 3 true, 3 said; class 1: 2 of 3, 2 said; class 2: 0 of 1, 2 said.
    expected = (4 / 6 + 4 / 5 + 0) / 3
    assert multilabel_f1(MULTI_TRUTH, MULTI_PROBABILITIES, 0.5) == pytest.approx(expected)
    assert multilabel_f1(MULTI_TRUTH, MULTI_PROBABILITIES, [0.5, 0.5, 0.5]) == pytest.approx(expected)
    # Thresholds per class: class 0 says 4 (3 right), class 1 three (all right), class 2 four (1 right).
    own = multilabel_f1(MULTI_TRUTH, MULTI_PROBABILITIES, [0.3, 0.3, 0.3])
    assert own == pytest.approx((6 / 8 + 6 / 7 + 2 / 5) / 3)


def test_a_class_that_is_nowhere_counts_as_zero():
    truth = np.array([[1, 0], [0, 0]])
    assert multilabel_f1(truth, truth.astype(float), 0.5) == 0.5


def test_tuned_thresholds_are_the_best_there_are():
    rng = np.random.default_rng(0)
    truth = rng.random((300, 4)) < [0.5, 0.2, 0.05, 0.0]
    values = np.round(np.clip(truth * 0.3 + rng.random((300, 4)) * 0.7, 0, 1), 2)  # with ties
    thresholds = tune_thresholds(truth, values)
    for c in range(3):
        own = [multilabel_f1(truth[:, [c]], values[:, [c]], t) for t in np.linspace(0, 1, 2001)]
        tuned = multilabel_f1(truth[:, [c]], values[:, [c]], thresholds[c])
        assert tuned == pytest.approx(max(own))
        assert thresholds[c] not in values[:, c]
    assert thresholds[3] == 1.0


def test_concordance_knows_shift_and_spread():
    x = np.array([0.1, 0.4, 0.2, 0.9, 0.5])
    assert concordance(x, x) == pytest.approx(1)
    assert concordance(x, -x) < 0
    shifted = 2 * x.var() / (2 * x.var() + 0.25)
    assert concordance(x, x + 0.5) == pytest.approx(shifted)
    assert concordance(x, 2 * x) == pytest.approx(2 * 2 * x.var() / (5 * x.var() + x.mean() ** 2))
    assert np.isnan(concordance([1, 1], [1, 1]))


def test_whole_speakers_are_drawn():
    # Two speakers, one all right and one all wrong: a draw has 0, 1 or 2 of the good one.
    right = np.array([1] * 30 + [0] * 30)
    speakers = ["a"] * 30 + ["b"] * 30
    draws = draw(lambda values: [values.mean(), len(values)], right, groups=speakers, n=400, seed=1)
    assert draws.shape == (400, 2)
    shares, counts = np.unique(draws[:, 0], return_counts=True)
    assert shares.tolist() == [0.0, 0.5, 1.0]
    np.testing.assert_allclose(counts / 400, [0.25, 0.5, 0.25], atol=0.08)
    assert set(draws[:, 1]) == {60}


def test_a_group_keeps_its_items_together_wherever_they_stand():
    speakers = ["a", "b", "a", None, "b", None, "a"]
    items = np.arange(7)
    for times in draw(lambda chosen: np.bincount(chosen, minlength=7), items, groups=speakers, n=50):
        assert times[0] == times[2] == times[6]
        assert times[1] == times[4]


def test_intervals_over_clips_are_those_of_a_proportion():
    rng = np.random.default_rng(0)
    right = (rng.random(500) < 0.7).astype(float)
    low, high = bootstrap(lambda values: float(values.mean()), right, n=2000, seed=0)
    spread = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 500)
    assert low == pytest.approx(right.mean() - spread, abs=0.006)
    assert high == pytest.approx(right.mean() + spread, abs=0.006)


def test_intervals_over_speakers_are_wider_where_speakers_differ():
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(12), 40)
    truth = rng.integers(0, 4, 480)
    skill = np.linspace(0.3, 0.95, 12)[speakers]
    said = np.where(rng.random(480) < skill, truth, (truth + 1) % 4)
    by_clip = bootstrap(uar, truth, said, n=300)
    by_speaker = bootstrap(uar, truth, said, groups=speakers.tolist(), n=300)
    assert by_speaker[1] - by_speaker[0] > 2 * (by_clip[1] - by_clip[0])
    assert by_speaker[0] < uar(truth, said) < by_speaker[1]


def test_the_seed_decides():
    truth, said = random_answers(0)
    assert bootstrap(uar, truth, said, n=50, seed=3) == bootstrap(uar, truth, said, n=50, seed=3)
    assert bootstrap(uar, truth, said, n=50, seed=3) != bootstrap(uar, truth, said, n=50, seed=4)


def test_draws_that_have_no_score_do_not_count():
    assert interval([np.nan, 0.5, 0.5, np.nan]) == (0.5, 0.5)
    assert np.isnan(interval([np.nan])).all()
    assert interval(np.linspace(0, 1, 1001), level=0.9) == pytest.approx((0.05, 0.95))


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        bootstrap(uar, [], [])
    with pytest.raises(ValueError, match="3 groups for 2 items"):
        bootstrap(uar, [0, 1], [0, 1], groups=["a", "b", "c"])


# --- verification ---


def test_equal_error_rate_of_known_scores():
    assert equal_error_rate([True, True, False, False], [0.9, 0.8, 0.2, 0.1]) == 0.0
    assert equal_error_rate([True, True, False, False], [0.1, 0.2, 0.8, 0.9]) == 1.0
    # One of four the same is refused and one of four others let in at any threshold between 0.4 and 0.6.
    same = [1, 1, 1, 0, 1, 0, 0, 0]
    assert equal_error_rate(same, [0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1]) == pytest.approx(0.25)
    # All scores equal: nobody or everybody is let in, and half way between both errors are one half.
    assert equal_error_rate([1, 0, 0], [0.5, 0.5, 0.5]) == pytest.approx(0.5)
    assert np.isnan(equal_error_rate([1, 1], [0.1, 0.2]))


def test_equal_error_rate_of_two_normal_distributions_is_known():
    """Same N(d, 1), others N(0, 1): the errors meet half way, at Phi(-d / 2)."""
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(2.0, 1.0, 20_000), rng.normal(0.0, 1.0, 60_000)])
    found = equal_error_rate(np.arange(80_000) < 20_000, scores)
    assert found == pytest.approx(0.158655, abs=0.004)


def test_trials_are_the_pairs_of_a_group():
    vectors = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    same, scores = verification_trials(vectors, ["a", "a", "b", "b"])
    assert same.tolist() == [True, False, False, False, False, True]
    np.testing.assert_allclose(scores, [1, 0, 2**-0.5, 0, 2**-0.5, 2**-0.5])
    same, scores = verification_trials(vectors, ["a", "a", "b", "b"], ["x", "y", "x", "y"])
    assert same.tolist() == [False, False]
    np.testing.assert_allclose(scores, [0, 2**-0.5])
