"""Every figure of a report, computed from stored answers alone; `page.py` only writes them down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affetto.errors import DataError
from affetto.evaluation.answers import Answer
from affetto.evaluation.calibration import (
    accuracy_at_coverage,
    aurc,
    reliability,
    risk_coverage,
    threshold_for_risk,
)
from affetto.evaluation.comparison import difference, estimate
from affetto.evaluation.metrics import bootstrap, uar
from affetto.evaluation.report import evaluation_report, people_of

COVERAGE = 0.8  # the share of answers whose accuracy is stated
TARGET_RISKS = (0.05, 0.1, 0.2, 0.3)
GAP, FEW = 0.05, 100  # a group this far below the others, or this small, is marked
MISTAKES = 10
_POINTS = 200  # of a curve: more cannot be seen
_KINDS = ("speaker", "gender", "language", "corpus")

Indices = NDArray[np.int64]


def summarise(
    answers: Sequence[Answer], *, against: Sequence[Answer] = (), n_boot: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """The figures of a report, ready for JSON; intervals are of 95 %, over speakers where they are named.

    What `evaluation_report` gives, of the answers to whole clips, and beside it: `people` (their number),
    `failed`, `reliability`, `selective` (risk and coverage), `risks` (thresholds for target risks), `ablation`
    (each subset of modalities on the clips that have it, and less what the same clips give whole), `noise`,
    `against` (this run less another on the clips of both; None where there are none) and `mistakes` (ids, the
    most confident first). Groups also hold an interval, and `gap`: their UAR less that of all others.

    Raises DataError `nothing_to_predict` without an answer to a whole clip, `label_unknown`.
    """
    whole = [a for a in answers if a.trial == "all" and a.error is None]
    if not whole:
        raise DataError("nothing_to_predict", "no clip was answered: see the errors in the predictions")
    labels = list(whole[0].probabilities or {})
    report = evaluation_report(
        [a.truth for a in whole],
        [[(a.probabilities or {}).get(name, 0.0) for name in labels] for a in whole],
        labels,
        speakers=[a.speaker for a in whole],
        genders=[a.gender for a in whole],
        languages=[a.language for a in whole],
        corpora=[a.corpus for a in whole],
        abstained=[a.abstained for a in whole],
        n_boot=n_boot,
        seed=seed,
    )
    confidence = np.array([a.confidence for a in whole])
    right = np.array([a.said == a.truth for a in whole])
    settings = {"n": n_boot, "seed": seed}
    return {
        **report,
        "people": len({name for name in _people(whole) if name is not None}),
        "failed": sum(a.trial == "all" and a.error is not None for a in answers),
        "reliability": _columns(("confidence", "accuracy", "n"), reliability(confidence, right)),
        "selective": _selective(confidence, right, _people(whole), settings),
        "risks": [_threshold(confidence, right, risk) for risk in TARGET_RISKS],
        "groups": {kind: _groups(kind, report["groups"][kind], whole, labels, settings) for kind in _KINDS},
        "ablation": _ablation(answers, whole, labels, settings),
        "noise": _noise(answers, labels, settings),
        "against": _paired(
            whole, {a.id: a for a in against if a.trial == "all" and a.error is None}, settings
        ),
        "mistakes": [a.id for a in mistakes(answers)],
    }


def mistakes(answers: Sequence[Answer]) -> list[Answer]:
    """The wrong answers to whole clips of the highest confidence, at most ten, the most confident first."""
    wrong = [a for a in answers if a.trial == "all" and a.error is None and a.said != a.truth]
    return sorted(wrong, key=lambda a: (-a.confidence, a.id))[:MISTAKES]


def _people(answers: Sequence[Answer]) -> list[str | None]:
    return people_of([a.speaker for a in answers], [a.corpus for a in answers]) or []


def _columns(names: Sequence[str], columns: Sequence[Any]) -> dict[str, list[float]]:
    return {name: np.asarray(column).tolist() for name, column in zip(names, columns, strict=True)}


def _selective(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], people: Sequence[str | None], settings: Any
) -> dict[str, Any]:
    """The risk-coverage curve, thinned, the area under it, and the accuracy of the most confident answers."""
    coverage, risk = risk_coverage(confidence, right)
    shown = np.unique(np.linspace(0, len(risk) - 1, min(_POINTS, len(risk))).round().astype(int))

    def kept(values: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
        return accuracy_at_coverage(values, correct, COVERAGE)

    return {
        "coverage": coverage[shown].tolist(),
        "risk": risk[shown].tolist(),
        "aurc": aurc(confidence, right),
        "aurc_interval": list(bootstrap(aurc, confidence, right, groups=people, **settings)),
        "accuracy": kept(confidence, right),
        "accuracy_interval": list(bootstrap(kept, confidence, right, groups=people, **settings)),
    }


def _threshold(confidence: NDArray[np.float64], right: NDArray[np.bool_], risk: float) -> dict[str, Any]:
    """Where to abstain for a target risk; None where the clips are too few, or too often wrong, to prove one."""
    found = threshold_for_risk(confidence, right, risk)
    kept = confidence >= found
    if math.isinf(found):
        return {"target": risk, "threshold": None, "coverage": 0.0, "risk": None}
    return {
        "target": risk,
        "threshold": found,
        "coverage": float(kept.mean()),
        "risk": float(1 - right[kept].mean()),
    }


def _groups(
    kind: str, found: dict[str, Any], answers: Sequence[Answer], labels: Sequence[str], settings: Any
) -> dict[str, dict[str, Any]]:
    """The groups of one kind with their intervals, and how far each is from all others of its kind."""
    people = _people(answers)
    names = people if kind == "speaker" else [getattr(a, kind) for a in answers]
    true, said = _classes(answers, labels)
    known = np.array([name is not None for name in names])
    groups = {}
    for name, scores in found.items():
        own = np.array([other == name for other in names])
        drawn = [people[i] for i in np.flatnonzero(own)]
        if len(set(drawn) - {None}) == 1:  # who cannot be drawn again: their clips are
            drawn = [None] * len(drawn)
        spread = estimate("uar", true[own], said[own][None], groups=drawn, **settings)
        rest = known & ~own
        gap = scores["uar"] - uar(true[rest], said[rest]) if rest.any() else None
        groups[name] = {**scores, "low": spread.low, "high": spread.high, "gap": gap}
    return groups


def _ablation(
    answers: Sequence[Answer], whole: Sequence[Answer], labels: Sequence[str], settings: Any
) -> list[dict[str, Any]]:
    """UAR of every subset of modalities, those of most modalities first."""
    by_id = {a.id: a for a in whole}
    subsets: dict[tuple[str, ...], list[Answer]] = {}
    for a in answers:
        if a.trial != "noise" and a.error is None and a.id in by_id:
            subsets.setdefault(a.inputs, []).append(a)
    ranked = sorted(subsets.items(), key=lambda item: (-len(item[0]), item[0]))
    return [
        {"inputs": list(inputs), **_score(own, labels, settings), "less": _paired(own, by_id, settings)}
        for inputs, own in ranked
    ]


def _noise(answers: Sequence[Answer], labels: Sequence[str], settings: Any) -> list[dict[str, Any]]:
    """UAR of speech alone, clean and with noise, the loudest noise last; on the clips that have all of them."""
    levels = sorted({a.snr for a in answers if a.trial == "noise" and a.snr is not None}, reverse=True)
    if not levels:
        return []
    by_level: dict[float | None, dict[str, Answer]] = {level: {} for level in [None, *levels]}
    for a in answers:
        if a.error is None and a.inputs == ("speech",):
            by_level[a.snr][a.id] = a
    common = set.intersection(*(set(found) for found in by_level.values()))
    if not common:
        return []
    clean = {name: by_level[None][name] for name in common}
    rows = []
    for level, found in by_level.items():
        own = [found[name] for name in sorted(common)]
        less = None if level is None else _paired(own, clean, settings)
        rows.append({"snr": level, **_score(own, labels, settings), "less": less})
    return rows


def _score(answers: Sequence[Answer], labels: Sequence[str], settings: Any) -> dict[str, Any]:
    true, said = _classes(answers, labels)
    found = estimate("uar", true, said[None], groups=_people(answers), **settings)
    return {"n": len(answers), "uar": found.mean, "low": found.low, "high": found.high}


def _paired(answers: Sequence[Answer], others: dict[str, Answer], settings: Any) -> dict[str, Any] | None:
    """UAR of answers less that of others to the same clips; None where none differs, or there are none."""
    own = [a for a in answers if a.id in others and others[a.id].truth == a.truth]
    theirs = [others[a.id] for a in own]
    if not own or all(a is b for a, b in zip(own, theirs, strict=True)):
        return None
    labels = sorted({name for a in (*own, *theirs) for name in (a.truth, a.said)})
    (true, said), (_, reference) = _classes(own, labels), _classes(theirs, labels)
    found = difference("uar", true, said[None], reference[None], groups=_people(own), **settings)
    return {"n": len(own), "uar": found.mean, "low": found.low, "high": found.high, "p": found.p}


def _classes(answers: Sequence[Answer], labels: Sequence[str]) -> tuple[Indices, Indices]:
    """The true and the most probable class of each answer [N], by their places in `labels`."""
    place = {name: i for i, name in enumerate(labels)}
    return np.array([place[a.truth] for a in answers]), np.array([place[a.said] for a in answers])
