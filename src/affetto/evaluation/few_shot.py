"""From a few labelled embeddings to a classifier: the mean of each class, or a linear probe.

Embeddings [N D] are of unit length; labels [N] are places among C classes. Both give scores [N C] for others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affetto.errors import DataError

_STEPS = 500
_RATE = 0.5
_MOMENTUM = 0.9


def prototypes(embeddings: ArrayLike, labels: ArrayLike, classes: int) -> NDArray[np.float32]:
    """The mean of each class at unit length, [C D]: `x @ prototypes.T` scores the classes of x [N D].

    Snell et al. 2017, "Prototypical Networks for Few-shot Learning", with cosines. Raises DataError
    `nothing_to_predict` for a class without an example.
    """
    x, y = _checked(embeddings, labels, classes)
    means = np.stack([x[y == c].mean(axis=0) for c in range(classes)])
    return (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def linear_probe(
    embeddings: ArrayLike, labels: ArrayLike, classes: int, *, decay: float = 1e-3
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Multinomial logistic regression: weights [C D] and bias [C]; `x @ weights.T + bias` are logits.

    Alain and Bengio 2016, "Understanding intermediate layers using linear classifier probes". The classes
    count alike, however many examples each has. `decay` pulls the weights to 0; it makes the problem strictly
    convex, and gradient descent with momentum ends at its one solution. Errors as in `prototypes`.
    """
    x, y = _checked(embeddings, labels, classes)
    counts = np.bincount(y, minlength=classes)
    share = (1.0 / (classes * counts))[y][:, None]
    wanted = np.eye(classes)[y]
    weights, bias = np.zeros((classes, x.shape[1])), np.zeros(classes)
    speed = [np.zeros_like(weights), np.zeros_like(bias)]
    for _ in range(_STEPS):
        error = share * (_softmax(x @ weights.T + bias) - wanted)
        for i, slope in enumerate((error.T @ x + decay * weights, error.sum(axis=0))):
            speed[i] = _MOMENTUM * speed[i] - _RATE * slope
        weights, bias = weights + speed[0], bias + speed[1]
    return weights.astype(np.float32), bias.astype(np.float32)


def _checked(
    embeddings: ArrayLike, labels: ArrayLike, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    x, y = np.asarray(embeddings, np.float64), np.asarray(labels, np.int64)
    missing = sorted(set(range(classes)) - set(y.tolist()))
    if missing:
        raise DataError("nothing_to_predict", f"no example of class {missing[0]}: give at least one of each")
    return x, y


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
