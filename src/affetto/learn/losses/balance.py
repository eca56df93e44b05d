"""Class weights from class counts and task weights from gradients: numpy in, numpy out, for samplers and losses."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affetto.errors import ConfigError


def inverse_frequency(counts: ArrayLike) -> NDArray[np.float64]:
    """Weights [C] proportional to 1 / count, with mean 1 over the classes that occur.

    counts [C], soft counts welcome. A class that never occurs weighs 0: no row can need it.
    """
    values = _counts(counts)
    return _mean_one(np.divide(1.0, values, out=np.zeros_like(values), where=values > 0))


def effective_number(counts: ArrayLike, beta: float = 0.999) -> NDArray[np.float64]:
    """Weights [C] by the effective number of samples, (1 - beta^n) / (1 - beta); mean 1 over classes seen.

    Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples": beta = 0 weighs all classes
    alike, beta -> 1 tends to `inverse_frequency`. Raises ConfigError `config_invalid` for another beta than
    0 <= beta < 1.
    """
    if not 0.0 <= beta < 1.0:
        raise ConfigError("config_invalid", f"beta is {beta}: expected at least 0 and below 1, such as 0.999")
    values = _counts(counts)
    effective = 1.0 - np.power(beta, values)
    seen = values > 0
    return _mean_one(np.divide(1.0 - beta, effective, out=np.zeros_like(values), where=seen))


def gradient_balance(norms: ArrayLike, ratios: ArrayLike, *, alpha: float = 1.5) -> NDArray[np.float64]:
    """Task weights [K], mean 1, under which every task pulls as hard as its pace asks: where GradNorm ends.

    Chen et al. 2018, "GradNorm": norms [K] are those of each task's gradient at what tasks share, ratios [K]
    the share of its first loss that a task still has. The paper's objective, the sum over tasks of
    |w_t norm_t - mean norm * r_t^alpha| with r_t = ratio_t / mean ratio, is zero where w_t is proportional to
    r_t^alpha / norm_t. All norms and ratios must be above 0.
    """
    pace = np.asarray(ratios, dtype=np.float64)
    return _mean_one((pace / pace.mean()) ** alpha / np.asarray(norms, dtype=np.float64))


def _counts(counts: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(counts, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
        raise ConfigError(
            "config_invalid", f"class counts are {counts!r}: expected finite numbers, none below 0"
        )
    return values


def _mean_one(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    seen = weights > 0
    return weights / weights[seen].mean() if seen.any() else weights
