"""Prototypes are means; a linear probe is the one solution of its convex problem."""

from __future__ import annotations

import numpy as np
import pytest

from affetto.errors import DataError
from affetto.evaluation.few_shot import linear_probe, prototypes


def clouds(each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), each)
    x = np.eye(3, 8)[labels] + 0.2 * rng.standard_normal((3 * each, 8))
    return x / np.linalg.norm(x, axis=1, keepdims=True), labels


def test_prototypes_are_the_means_of_their_classes() -> None:
    x, y = clouds(5, 0)
    found = prototypes(x, y, 3)
    mean = x[5:10].mean(axis=0)
    assert found[1] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_five_examples_of_each_class_do() -> None:
    x, y = clouds(5, 1)
    others, truth = clouds(100, 2)
    weights, bias = linear_probe(x, y, 3)
    assert ((others @ weights.T + bias).argmax(axis=1) == truth).mean() > 0.95
    assert ((others @ prototypes(x, y, 3).T).argmax(axis=1) == truth).mean() > 0.95


def test_the_probe_has_no_slope_left() -> None:
    x, y = clouds(20, 3)
    x, y = x[:45], y[:45]  # classes of 20, 20 and 5, which count alike
    weights, bias = linear_probe(x, y, 3, decay=0.01)
    logits = x @ weights.T + bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    error = (p / p.sum(1, keepdims=True) - np.eye(3)[y]) / (3 * np.bincount(y)[y])[:, None]
    assert np.abs(error.T @ x + 0.01 * weights).max() < 1e-3
    assert np.abs(error.sum(axis=0)).max() < 1e-3


def test_a_class_without_an_example_is_refused() -> None:
    with pytest.raises(DataError, match="class 1"):
        prototypes(np.eye(2), [0, 2], 3)
