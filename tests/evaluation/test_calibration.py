"""Calibration and abstention against definitions, known truths, and simulation."""

import math

import numpy as np
import pytest

from affetto.evaluation.calibration import (
    PULL,
    accuracy_at_coverage,
    apply_temperature,
    apply_vector_scaling,
    aurc,
    calibration_gap,
    ece,
    fit_strengths,
    fit_temperature,
    fit_vector_scaling,
    nll,
    reliability,
    risk_coverage,
    threshold_for_coverage,
    threshold_for_risk,
)


def world(seed=0, n=4000, n_classes=5, scale=2.0):
    """Logits whose softmax is the true distribution, and classes drawn from it."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.standard_normal((n, n_classes))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = (chances.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return logits, np.minimum(classes, n_classes - 1)


def test_apply_temperature_is_softmax():
    logits = np.array([[1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0]])
    expected = np.exp(logits[0] / 2) / np.exp(logits[0] / 2).sum()
    np.testing.assert_allclose(apply_temperature(logits, 2.0)[0], expected)
    np.testing.assert_allclose(apply_temperature(logits, 2.0)[1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(apply_temperature(logits, 20.0).sum(axis=1), 1)


def test_nll_is_its_formula():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]])
    assert nll(probabilities, [0, 2]) == pytest.approx(-(math.log(0.7) + math.log(0.4)) / 2)
    shares = [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    expected = -(0.5 * math.log(0.7) + 0.5 * math.log(0.2) + math.log(0.4)) / 2
    assert nll(probabilities, shares) == pytest.approx(expected)
    assert np.isfinite(nll([[1.0, 0.0]], [1]))


@pytest.mark.parametrize("true_temperature", [0.3, 1.0, 2.5])
def test_the_temperature_that_spoiled_logits_is_found(true_temperature):
    logits, targets = world()
    found = fit_temperature(logits * true_temperature, targets)
    assert found == pytest.approx(true_temperature, rel=0.06)
    assert ece(apply_temperature(logits * true_temperature, found), targets) < 0.03


@pytest.mark.parametrize("soft", [False, True])
def test_no_other_temperature_is_better(soft):
    logits, targets = world(n=300)
    wanted = np.random.default_rng(1).dirichlet(np.ones(5), 300) if soft else targets
    found = fit_temperature(logits, wanted)
    best = nll(apply_temperature(logits, found), wanted)
    for other in np.geomspace(0.05, 20, 400):
        assert nll(apply_temperature(logits, other), wanted) >= best - 1e-12


def test_temperature_keeps_within_bounds():
    separable = np.eye(3) * 5
    assert fit_temperature(separable, [0, 1, 2]) == pytest.approx(0.05)
    assert fit_temperature(separable, [1, 2, 0]) == pytest.approx(20)
    with pytest.raises(ValueError, match="no logits"):
        fit_temperature(np.zeros((0, 3)), [])


def harder_half(logits, targets, people, temperature):
    losses = [
        nll(apply_temperature(logits[people == p], temperature), targets[people == p]) for p in set(people)
    ]
    return np.mean(sorted(losses)[len(losses) // 2 :])


@pytest.mark.parametrize("n_people", [1, 2, 3, 5])
def test_no_other_temperature_serves_the_harder_half_of_the_people_better(n_people):
    logits, targets = world(n=300)
    people = np.repeat([f"p{i}" for i in range(n_people)], 60)
    logits, targets = logits[: len(people)], targets[: len(people)]
    too_sure = np.repeat(np.geomspace(0.5, 3.0, n_people), 60)
    logits *= too_sure[:, None]
    found = fit_temperature(logits, targets, people)
    best = harder_half(logits, targets, people, found)
    for other in np.geomspace(0.05, 20, 400):
        assert harder_half(logits, targets, people, other) >= best - 1e-9
    if n_people == 5:
        assert found > 1.1 * fit_temperature(logits, targets)


def experts(n_people=5, seed=0):
    """Log-probabilities [3 N 4] of a good expert, a poor one and one that guesses; classes; whose the items are."""
    rng = np.random.default_rng(seed)
    n = 60 * n_people
    truth = rng.integers(4, size=n)
    skill = np.repeat(np.linspace(0.2, 2.0, n_people), 60)[:, None]  # the first person is hardest
    sharpness = [2.0, 0.7, 0.0]
    logits = [
        rng.standard_normal((n, 4)) + s * skill * np.eye(4)[truth] if s else rng.standard_normal((n, 4))
        for s in sharpness
    ]
    log_shares = np.log([apply_temperature(values, 1.0) for values in logits])
    return log_shares, truth, np.repeat([f"p{i}" for i in range(n_people)], 60)


@pytest.mark.parametrize("n_people", [1, 2, 5])
def test_no_other_strengths_serve_the_harder_half_of_the_people_better(n_people):
    log_shares, truth, people = experts(n_people)
    found = fit_strengths(log_shares, truth, people)
    best = harder_half(np.tensordot(found, log_shares, 1), truth, people, 1.0)
    rng = np.random.default_rng(1)
    for spread in (0.02, 0.2, 1.0):
        for _ in range(100):
            other = np.maximum(found + spread * rng.standard_normal(3), 0.0)
            worse = harder_half(np.tensordot(other, log_shares, 1), truth, people, 1.0)
            assert worse >= best - 2e-4
    assert found.min() >= 0.0


def test_one_expert_is_given_its_temperature_and_one_who_guesses_nothing():
    log_shares, truth, people = experts()
    (alone,) = fit_strengths(log_shares[:1], truth, people)
    assert alone == pytest.approx(1 / fit_temperature(log_shares[0], truth, people), rel=1e-3)
    good, poor, guessing = fit_strengths(log_shares, truth, people)
    assert good > poor > guessing
    assert guessing < 0.05 * good
    with pytest.raises(ValueError, match="no answers"):
        fit_strengths(log_shares[:, :0], [])


def test_people_with_few_items_count_as_one():
    logits, targets = world(n=300)
    strangers = [f"p{i // 10}" for i in range(300)]  # ten each
    assert fit_temperature(logits, targets, strangers) == fit_temperature(logits, targets)
    assert fit_temperature(logits, targets, [None] * 300) == fit_temperature(logits, targets)
    known, nobody = ["a"] * 150 + strangers[150:], ["a"] * 150 + ["b"] * 150
    assert fit_temperature(logits, targets, known) == fit_temperature(logits, targets, nobody)


# --- vector scaling ---

SCALE, BIAS = np.array([0.5, 0.8, 1.0, 1.3, 0.4]), np.array([0.6, -0.9, 0.4, 0.2, -0.3])


def test_apply_vector_scaling_is_softmax_of_scaled_logits():
    logits = np.array([[1.0, -2.0, 0.5, 0.0, 3.0]])
    powers = [math.exp(w * z + b) for w, z, b in zip(SCALE, logits[0], BIAS, strict=True)]
    found = apply_vector_scaling(logits, SCALE, BIAS)
    np.testing.assert_allclose(found[0], np.array(powers) / sum(powers), rtol=1e-12)
    same = apply_vector_scaling(logits, np.full(5, 1 / 2.5), np.zeros(5))
    np.testing.assert_allclose(same, apply_temperature(logits, 2.5), rtol=1e-12)


def test_the_scale_and_bias_that_spoiled_logits_are_found():
    logits, targets = world(n=20_000)
    scale, bias = fit_vector_scaling((logits - BIAS) / SCALE, targets)
    np.testing.assert_allclose(scale, SCALE, rtol=0.06)
    np.testing.assert_allclose(bias, BIAS, atol=0.06)


def stated_loss(logits, targets, scale, bias, temperature):
    held = np.sum(np.log(scale * temperature) ** 2) + np.sum(bias**2)
    return len(logits) * nll(apply_vector_scaling(logits, scale, bias), targets) + PULL / 2 * held


@pytest.mark.parametrize("soft", [False, True])
def test_no_other_scale_and_bias_are_better(soft):
    logits, targets = world(n=300)
    wanted = np.random.default_rng(1).dirichlet(np.ones(5), 300) if soft else targets
    spoiled = (logits - BIAS) / SCALE
    scale, bias = fit_vector_scaling(spoiled, wanted)
    temperature, rng = fit_temperature(spoiled, wanted), np.random.default_rng(2)
    best = stated_loss(spoiled, wanted, scale, bias, temperature)
    for size in (1e-3, 0.03, 0.3):
        for _ in range(100):
            factor, shift = np.exp(size * rng.standard_normal(5)), size * rng.standard_normal(5)
            assert stated_loss(spoiled, wanted, scale * factor, bias + shift, temperature) > best


@pytest.mark.parametrize("n", [1, 2, 7, 30, 200])
def test_vector_scaling_is_never_worse_on_what_it_was_fitted_on(n):
    for seed in range(5):
        logits, targets = world(seed=seed, n=n)
        temperature = nll(apply_temperature(3 * logits, fit_temperature(3 * logits, targets)), targets)
        vector = nll(apply_vector_scaling(3 * logits, *fit_vector_scaling(3 * logits, targets)), targets)
        assert vector <= temperature + 1e-12


def test_few_items_move_vector_scaling_little():
    logits, _ = world(n=5)
    scale, bias = fit_vector_scaling(logits, [0, 0, 0, 0, 0])
    assert bias.argmax() == 0
    assert np.abs(bias).max() < 0.5
    assert np.abs(np.log(scale * fit_temperature(logits, [0, 0, 0, 0, 0]))).max() < 0.5


def test_vector_scaling_of_nothing_is_refused_and_of_what_is_told_apart_is_finite():
    with pytest.raises(ValueError, match="no logits"):
        fit_vector_scaling(np.zeros((0, 3)), [])
    for targets in ([0, 1, 2], [1, 2, 0]):
        scale, bias = fit_vector_scaling(1e4 * np.eye(3), targets)
        assert np.isfinite([*scale, *bias]).all()
        assert (scale > 0).all()


def binned_by_hand(probabilities, targets, bins, equal_mass):
    confidence = [max(row) for row in probabilities]
    right = [list(row).index(max(row)) == t for row, t in zip(probabilities, targets, strict=True)]
    pairs = sorted(zip(confidence, right, strict=True), key=lambda pair: pair[0])
    if equal_mass:
        size, rest = divmod(len(pairs), bins)
        groups, start = [], 0
        for b in range(bins):
            end = start + size + (b < rest)
            groups.append(pairs[start:end])
            start = end
    else:
        groups = [[p for p in pairs if b <= p[0] * bins < b + 1] for b in range(bins)]
    total = 0.0
    for group in groups:
        if group:
            share = sum(r for _, r in group) / len(group)
            mean = sum(c for c, _ in group) / len(group)
            total += len(group) / len(pairs) * abs(share - mean)
    return total


@pytest.mark.parametrize("equal_mass", [True, False])
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_is_its_definition(bins, equal_mass):
    logits, targets = world(n=337)
    probabilities = apply_temperature(logits, 0.6)
    expected = binned_by_hand(probabilities.tolist(), targets.tolist(), bins, equal_mass)
    assert ece(probabilities, targets, bins, equal_mass) == pytest.approx(expected)


def test_ece_of_extremes():
    certain = np.array([[1.0, 0.0]] * 10)
    assert ece(certain, [0] * 10) == pytest.approx(0)
    assert ece(certain, [1] * 10) == pytest.approx(1)
    assert ece(certain, [1] * 10, equal_mass=False) == pytest.approx(1)
    assert ece([[0.8, 0.2]] * 10, [0] * 8 + [1] * 2, bins=1) == pytest.approx(0)
    assert np.isnan(ece(np.zeros((0, 2)), []))


@pytest.mark.parametrize(("n", "floor"), [(160, 0.11), (960, 0.045)])
def test_the_floor_of_a_perfect_predictor_is_as_stated(n, floor):
    values = []
    for seed in range(60):
        logits, targets = world(seed, n=n, n_classes=7, scale=1.5)
        values.append(ece(apply_temperature(logits, 1.0), targets))
    assert np.mean(values) == pytest.approx(floor, rel=0.2)


def test_risk_coverage_by_hand():
    coverage, risk = risk_coverage([0.9, 0.5, 0.8, 0.6], [1, 0, 0, 1])
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 3, 2 / 4])
    assert aurc([0.9, 0.5, 0.8, 0.6], [1, 0, 0, 1]) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_equal_confidences_share_their_errors():
    confidence = [0.9, 0.7, 0.7, 0.7, 0.1]
    for correct in ([1, 0, 1, 1, 0], [1, 1, 1, 0, 0]):
        _, risk = risk_coverage(confidence, correct)
        np.testing.assert_allclose(risk, [0, 1 / 6, 2 / 9, 1 / 4, 2 / 5])


def test_aurc_prefers_a_confidence_that_knows():
    rng = np.random.default_rng(0)
    correct = rng.random(1000) < 0.7
    knows, guesses = correct + rng.random(1000), rng.random(1000)
    assert aurc(knows, correct) < aurc(guesses, correct) == pytest.approx(0.3, abs=0.05)
    assert np.isnan(aurc([], []))


def test_threshold_for_coverage_keeps_as_many_as_asked():
    rng = np.random.default_rng(0)
    confidence = np.round(rng.random(997), 2)
    for coverage in (0.01, 0.5, 0.8, 1.0):
        threshold = threshold_for_coverage(confidence, coverage)
        assert np.mean(confidence >= threshold) >= coverage
        assert np.mean(confidence > threshold) < coverage
    assert threshold_for_coverage(confidence, 0.0) == math.inf
    assert threshold_for_coverage([0.1, 0.2, 0.3, 0.4, 0.5], 0.6) == 0.3
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="coverage"):
            threshold_for_coverage(confidence, wrong)
    with pytest.raises(ValueError, match="items"):
        threshold_for_coverage([], 0.5)


def answers(rng, n):
    """Answers that are right with the probability they claim."""
    confidence = rng.uniform(0.5, 1.0, n)
    return confidence, rng.random(n) < confidence


def test_the_promised_risk_is_kept():
    # Above a threshold t the true risk of these answers is (1 - t) / 2.
    rng = np.random.default_rng(0)
    risks = []
    for _ in range(80):
        confidence, correct = answers(rng, 300)
        threshold = threshold_for_risk(confidence, correct, risk=0.15, delta=0.1)
        risks.append(0.0 if math.isinf(threshold) else (1 - threshold) / 2)
    assert np.mean(np.array(risks) > 0.15) <= 0.1
    assert np.mean(risks) > 0.05  # and not by abstaining from everything


def test_the_bound_is_clopper_and_pearsons():
    # No error among n items: the bound is 1 - delta ** (1 / n); one threshold, so one step.
    n, delta = 50, 0.05
    bound = 1 - delta ** (1 / n)
    same = np.full(n, 0.9)
    assert threshold_for_risk(same, np.ones(n), risk=bound + 1e-6, delta=delta) == 0.9
    assert threshold_for_risk(same, np.ones(n), risk=bound - 1e-6, delta=delta) == math.inf
    # Five errors of 50: 0.19883, the 95 % quantile of Beta(6, 45).
    five = np.arange(n) >= 5
    assert threshold_for_risk(same, five, risk=0.1989, delta=delta) == 0.9
    assert threshold_for_risk(same, five, risk=0.1988, delta=delta) == math.inf


def test_a_risk_that_cannot_be_promised_is_not():
    assert threshold_for_risk([0.9, 0.8], [0, 0], risk=0.5) == math.inf
    assert threshold_for_risk([], [], risk=0.5) == math.inf
    assert threshold_for_risk([0.9, 0.8], [1, 0], risk=1.0) == 0.8


def test_a_reliability_diagram_by_hand():
    confidence, accuracy, count = reliability([0.9, 0.5, 0.8, 0.6], [1, 0, 0, 1], bins=2)
    np.testing.assert_allclose(confidence, [0.55, 0.85])
    np.testing.assert_allclose(accuracy, [0.5, 0.5])
    assert count.tolist() == [2, 2]
    # |0.5 - 0.55| and |0.5 - 0.85|, each of half the items
    assert calibration_gap([0.9, 0.5, 0.8, 0.6], [1, 0, 0, 1], bins=2) == pytest.approx((0.05 + 0.35) / 2)
    assert [len(column) for column in reliability([], [])] == [0, 0, 0]
    assert len(reliability([0.5, 0.6, 0.7], [1, 1, 0])[0]) == 3


def test_accuracy_at_a_coverage_by_hand():
    confidence, correct = [0.9, 0.5, 0.8, 0.6, 0.7], [1, 0, 0, 1, 1]
    assert accuracy_at_coverage(confidence, correct, 0.8) == pytest.approx(3 / 4)
    assert accuracy_at_coverage(confidence, correct, 0.3) == pytest.approx(1 / 2)  # two items, rounded up
    assert accuracy_at_coverage(confidence, correct, 1.0) == pytest.approx(3 / 5)
    assert accuracy_at_coverage([0.5, 0.5], [1, 0], 0.5) == pytest.approx(1 / 2)
    for wrong in (0.0, 1.1):
        with pytest.raises(ValueError, match="coverage"):
            accuracy_at_coverage(confidence, correct, wrong)
    with pytest.raises(ValueError, match="items"):
        accuracy_at_coverage([], [], 0.8)
