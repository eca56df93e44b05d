"""Whether probabilities mean what they say, and when to abstain.

Sources: Guo et al. 2017, "On calibration of modern neural networks" (temperature, vector scaling, ECE); Nixon
et al. 2019 (bins of equal mass); Geifman & El-Yaniv 2017, "Selective classification for deep neural networks" (risk and
coverage, a threshold with a guarantee).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]

COLDEST, HOTTEST = 0.05, 20.0  # temperatures: beyond, the logits are wrong, not their scale
#: How strongly vector scaling is held to one temperature: as a normal prior of deviation 0.32 on the logarithm of
#: each scale and on each bias.
PULL = 10.0
_FEWEST_OF_A_PERSON = 20  # items: the hardest of people with fewer are those with bad luck
_SMALLEST = 1e-12  # probability that stands for an impossible one in a logarithm
_NEWTON_STEPS = 200
_HALVED_AFTER = 10  # Newton steps, after which they are half as long
_STEPS = 60  # halvings of an interval: to the last bit of a double
_SETTLED = 1e-9  # a step of vector scaling that is smaller changes no probability that anyone reads


def ece(probabilities: ArrayLike, targets: ArrayLike, bins: int = 15, equal_mass: bool = True) -> float:
    """Expected calibration error of the top class: mean over items of |accuracy - confidence| of their bin.

    probabilities [N C], targets [N] indices. Bins hold equally many items, or span equal widths of
    confidence. NaN without items. Even a perfect predictor has a positive expectation: 0.045 with 15 bins and
    960 items, 0.11 with 160, so compare like with like.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    right = values.argmax(axis=1) == np.asarray(targets)
    return calibration_gap(values.max(axis=1), right, bins, equal_mass)


def calibration_gap(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 15, equal_mass: bool = True
) -> float:
    """`ece` of answers that are known by confidence [N] and whether they were right [N]."""
    values, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if not values.size:
        return float("nan")
    members = _bins(values, bins, equal_mass)
    return sum(abs(float(np.sum(right[m] - values[m]))) for m in members) / values.size


def reliability(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 15
) -> tuple[Doubles, Doubles, NDArray[np.int64]]:
    """The points of a reliability diagram, from the least confident bin on: bins of equally many items.

    confidence [N], correct [N] -> mean confidence, accuracy and number of items of each bin, [B] with
    B = min(bins, N). The mean of |accuracy - confidence|, weighted by the items, is `calibration_gap`.
    """
    values, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    members = _bins(values, bins, equal_mass=True) if values.size else []
    mean = np.array([values[m].mean() for m in members])
    return mean, np.array([right[m].mean() for m in members]), np.array([len(m) for m in members], dtype=int)


def nll(probabilities: ArrayLike, targets: ArrayLike) -> float:
    """Mean negative log-likelihood, in nats: probabilities [N C], targets [N] indices or [N C] shares."""
    values = np.asarray(probabilities, dtype=np.float64)
    return float(-np.sum(_shares(targets, values) * np.log(np.maximum(values, _SMALLEST))) / len(values))


def apply_temperature(logits: ArrayLike, temperature: float) -> Doubles:
    """Softmax of logits [N C] divided by the temperature: probabilities [N C], rows summing to 1."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def fit_temperature(
    logits: ArrayLike, targets: ArrayLike, people: Sequence[str | None] | None = None
) -> float:
    """The temperature that minimises the negative log-likelihood, between 0.05 and 20.

    logits [N C]; targets [N] indices, or [N C] shares (annotators' votes). The likelihood is concave in the
    inverse temperature, so halving the interval on the sign of its slope finds the only optimum. Logits that
    separate the classes have none and give 0.05; logits that know less than nothing give 20.

    people [N]: whose each item is. What is minimised is then the mean over that half of the people on whom the model
    is worst, each counting alike: a stranger may be harder than most of those who were asked, and a model that is
    too sure of itself harms more than one that is not sure enough. That mean is the conditional value at risk
    (Rockafellar and Uryasev 2000) at one half; it is convex as well. Items that are nobody's, and those of people
    with fewer than 20, whose loss is mostly chance, count together as one person's.

    Raises ValueError without items.
    """
    scores = np.asarray(logits, dtype=np.float64)
    if not len(scores):
        raise ValueError("no logits to fit a temperature on")
    shares = _shares(targets, scores)
    members = _members(people, len(scores))

    def too_cold(temperature: float) -> bool:
        said = apply_temperature(scores, temperature)
        surplus = ((said - shares) * scores).sum(axis=1)
        return sum(surplus[rows].mean() for rows in _harder_half(members, said, shares)[0]) > 0

    low, high = math.log(COLDEST), math.log(HOTTEST)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if too_cold(math.exp(middle)) else (low, middle)
    return math.exp((low + high) / 2)


def fit_strengths(
    log_shares: ArrayLike, targets: ArrayLike, people: Sequence[str | None] | None = None
) -> Doubles:
    """The exponents [V], none below 0, of a product of V experts that minimise the negative log-likelihood.

    log_shares [V N C]: what each expert says of each item, as log-probabilities; the product is softmax of their sum
    weighted by the exponents: a logarithmic opinion pool, stacked (Genest and Zidek 1986; Wolpert 1992). targets and
    people as in `fit_temperature`: the loss is that of the harder half of the people, and convex. It has kinks where
    that half changes, so Newton steps that keep above 0 (Bertsekas 1982) are shortened as they go on, and the best
    point passed is taken.

    Raises ValueError without items.
    """
    experts = np.asarray(log_shares, dtype=np.float64)
    if not experts.shape[1]:
        raise ValueError("no answers to fit strengths on")
    shares = _shares(targets, experts[0])
    members = _members(people, len(shares))
    point = best = np.full(len(experts), 1 / len(experts))
    least = math.inf
    for count in range(_NEWTON_STEPS):
        said = apply_temperature(np.tensordot(point, experts, 1), 1.0)
        hardest, loss = _harder_half(members, said, shares)
        if loss < least:
            best, least = point, loss
        weight = np.zeros(len(shares))
        for rows in hardest:
            weight[rows] = 1 / len(rows)
        means = np.einsum("vnc,nc->vn", experts, said)
        slope = (means - np.einsum("vnc,nc->vn", experts, shares)) @ weight
        spread = np.einsum("vnc,nc,wnc->nvw", experts, said, experts)
        curvature = np.tensordot(weight, spread - np.einsum("vn,wn->nvw", means, means), 1)
        free = (point > 0) | (slope < 0)
        step = np.zeros_like(point)
        step[free] = np.linalg.solve(curvature[free][:, free] + _SMALLEST * np.eye(free.sum()), slope[free])
        step /= max(1.0, np.abs(step).max())  # farther than that the curvature holds no longer
        point = np.maximum(point - step / (1 + count / _HALVED_AFTER), 0.0)
    return best


def apply_vector_scaling(logits: ArrayLike, scale: ArrayLike, bias: ArrayLike) -> Doubles:
    """Softmax of `scale * logits + bias`: logits [N C], scale [C] and bias [C] -> probabilities [N C]."""
    scores = np.asarray(logits, dtype=np.float64)
    return apply_temperature(scores * np.asarray(scale) + np.asarray(bias), 1.0)


def fit_vector_scaling(logits: ArrayLike, targets: ArrayLike) -> tuple[Doubles, Doubles]:
    """The scale [C], above 0, and the bias [C] of each class that minimise the negative log-likelihood.

    logits [N C]; targets [N] indices, or [N C] shares (annotators' votes). So that few items do not spoil them,
    the logarithm of each scale is drawn towards that of one over `fit_temperature`, and each bias to 0, by `PULL`
    times half the square of the distance. The fit begins there and only descends: on these items it is never
    worse than the temperature.

    Raises ValueError without items.
    """
    scores = np.asarray(logits, dtype=np.float64)
    inverse = 1 / fit_temperature(scores, targets)
    shares, classes = _shares(targets, scores), scores.shape[1]

    def scaled(point: Doubles) -> Doubles:
        return scores * (inverse * np.exp(point[:classes])) + point[classes:]

    def loss(point: Doubles) -> float:
        values = scaled(point)
        top = values.max(axis=1, keepdims=True)
        likelihood = np.sum(shares * (values - top)) - np.sum(np.log(np.exp(values - top).sum(axis=1)))
        return float(PULL / 2 * point @ point - likelihood)

    point = np.zeros(2 * classes)
    for _ in range(_STEPS):
        values = scaled(point)
        slope, curvature = _vector_slope(values, values - point[classes:], shares)
        step = np.linalg.solve(curvature + PULL * np.eye(2 * classes), slope + PULL * point)
        step /= max(1.0, np.abs(step).max())  # farther than that the curvature holds no longer
        while np.abs(step).max() > _SETTLED and loss(point - step) > loss(point):
            step /= 2
        if np.abs(step).max() <= _SETTLED:
            break
        point = point - step
    return inverse * np.exp(point[:classes]), point[classes:]


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> tuple[Doubles, Doubles]:
    """Error among the most confident items, for every number of them: (coverage [N], risk [N]).

    confidence [N], correct [N] of 0 and 1. Items of equal confidence cannot be told apart, so each counts as
    their mean: the order of the input has no say.
    """
    values, wrong = _ranked(confidence, correct)
    _, tie, size = np.unique(-values, return_inverse=True, return_counts=True)
    wrong = (np.bincount(tie, wrong) / size)[tie]
    counts = np.arange(1, len(values) + 1)
    return counts / max(len(values), 1), np.cumsum(wrong) / counts


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Area under the risk-coverage curve: the mean risk over all coverages, lower is better. NaN if empty."""
    _, risk = risk_coverage(confidence, correct)
    return float(risk.mean()) if risk.size else float("nan")


def accuracy_at_coverage(confidence: ArrayLike, correct: ArrayLike, coverage: float) -> float:
    """Accuracy among the most confident share `coverage` of items [N], rounded up to a whole item.

    Items of equal confidence count as their mean. Raises ValueError without items, or for a coverage outside
    0..1 or of 0.
    """
    needed = math.ceil(coverage * np.size(confidence) - 1e-9)
    if not 0 < coverage <= 1 or not needed:
        raise ValueError(f"expected a coverage above 0, at most 1, and items, got {coverage}")
    return 1.0 - float(risk_coverage(confidence, correct)[1][needed - 1])


def threshold_for_coverage(confidence: ArrayLike, coverage: float) -> float:
    """The highest threshold at which at least a share `coverage` of items [N] has `confidence >= threshold`.

    Raises ValueError when coverage is not in 0..1 or there are no items.
    """
    values = np.sort(np.asarray(confidence, dtype=np.float64))[::-1]
    if not 0 <= coverage <= 1 or not values.size:
        raise ValueError(f"expected a coverage in 0..1 and items, got {coverage} and {values.size} items")
    needed = math.ceil(coverage * values.size - 1e-9)
    return float(values[needed - 1]) if needed else math.inf


def threshold_for_risk(confidence: ArrayLike, correct: ArrayLike, risk: float, delta: float = 0.05) -> float:
    """The lowest threshold found whose true risk is at most `risk` with probability 1 - delta.

    Selection with guaranteed risk: binary search over the ranked items, each step with the exact binomial
    bound (Clopper & Pearson 1934) at delta over the number of steps. Holds for new items drawn like these:
    new speakers may behave worse. Infinity, abstain from all, when the items prove no such threshold.
    """
    values, wrong = _ranked(confidence, correct)
    ends = np.flatnonzero(np.append(values[:-1] != values[1:], True)) if values.size else np.empty(0, int)
    errors = np.cumsum(wrong)
    steps = max(1, math.ceil(math.log2(len(ends) + 1)))
    low, high, found = 0, len(ends) - 1, math.inf
    while low <= high:
        middle = (low + high) // 2
        last = ends[middle]
        if _risk_bound(int(errors[last]), int(last) + 1, delta / steps) <= risk:
            found, low = float(values[last]), middle + 1
        else:
            high = middle - 1
    return found


def _bins(values: Doubles, bins: int, equal_mass: bool) -> list[NDArray[np.int64]]:
    """The items of each bin of confidence [N], from the least confident on."""
    if equal_mass:
        return np.array_split(np.argsort(values, kind="stable"), min(bins, values.size))
    number = np.minimum((values * bins).astype(int), bins - 1)
    return [np.flatnonzero(number == b) for b in range(bins)]


def _members(people: Sequence[str | None] | None, items: int) -> list[NDArray[np.int64]]:
    """The items of each person who has enough of them, and all others together."""
    names = np.array([name or "" for name in ([None] * items if people is None else people)])
    known = [name for name in np.unique(names) if name and (names == name).sum() >= _FEWEST_OF_A_PERSON]
    found = [np.flatnonzero(names == name) for name in known]
    others = np.flatnonzero(~np.isin(names, known))
    return [*found, others] if len(others) else found


def _harder_half(
    members: Sequence[NDArray[np.int64]], said: Doubles, shares: Doubles
) -> tuple[list[NDArray[np.int64]], float]:
    """The items of each of those people on whom what was said [N C] is worst, and their mean loss."""
    losses = np.array([nll(said[rows], shares[rows]) for rows in members])
    hardest = np.argsort(losses, kind="stable")[len(members) // 2 :]
    return [members[person] for person in hardest], float(losses[hardest].mean())


def _shares(targets: ArrayLike, values: Doubles) -> Doubles:
    """Targets as a distribution [N C]."""
    wanted = np.asarray(targets)
    if wanted.ndim == 2:
        return wanted.astype(np.float64)
    shares = np.zeros(values.shape)
    shares[np.arange(len(values)), wanted] = 1.0
    return shares


def _vector_slope(values: Doubles, products: Doubles, shares: Doubles) -> tuple[Doubles, Doubles]:
    """Slope [2C] and expected curvature [2C 2C] of the negative log-likelihood of softmax(values [N C]) by the
    logarithms of the scales, whose products with the logits are given [N C], and by the biases."""
    said, classes = apply_temperature(values, 1.0), values.shape[1]
    by = np.hstack([products, np.ones_like(products)])
    slope = (by * np.tile(said - shares, 2)).sum(axis=0)
    weighted = by * np.tile(said, 2)
    own = (by.T @ weighted) * np.tile(np.eye(classes), (2, 2))
    return slope, own - weighted.T @ weighted


def _ranked(confidence: ArrayLike, correct: ArrayLike) -> tuple[Doubles, Doubles]:
    """Confidence, highest first, and 1 where the item is wrong."""
    values = np.asarray(confidence, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    return values[order], 1.0 - np.asarray(correct, dtype=np.float64)[order]


def _risk_bound(errors: int, items: int, delta: float) -> float:
    """The risk at which so few errors among the items would have probability delta."""
    if errors >= items:
        return 1.0
    k = np.arange(errors + 1)
    log_choose = np.array(
        [math.lgamma(items + 1) - math.lgamma(i + 1) - math.lgamma(items - i + 1) for i in range(errors + 1)]
    )
    low, high = errors / items, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        logs = log_choose + k * math.log(middle) + (items - k) * math.log1p(-middle)
        low, high = (middle, high) if float(np.exp(logs).sum()) > delta else (low, middle)
    return high
