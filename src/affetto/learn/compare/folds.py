"""A comparison by cross-validation: every clip is tested once, by models trained without its fold.

Folds are compared one after the other, each in a folder of its own, and their answers put together: scores,
intervals and differences are then of all clips at once, not means of folds.

Nested validation (Stone 1974, "Cross-validatory choice and assessment of statistical predictions"; Varma and Simon
2006, on the bias without it): the best row of a table was chosen by the clips that it is judged by. The row
`CHOSEN` was not: in each fold it is the variant whose validation clips, which come from the training part, found
it best (UAR, mean over seeds, each of which draws other people to validate).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from affetto.data.folds import UNITS, Unit
from affetto.errors import ConfigError
from affetto.learn.compare.grid import Variant
from affetto.learn.compare.runs import Comparison, Result, Tested, compare
from affetto.learn.config import DataConfig, ExperimentConfig
from affetto.learn.training.corpora import folds_of, load_corpora
from affetto.learn.training.display import Display
from affetto.learn.training.loop import Start

CHOSEN = "chosen by validation"


@dataclass(frozen=True)
class Folds:
    """What folds hold out, and how many there are; None leaves out one at a time."""

    by: Unit
    number: int | None = None


def parse_folds(text: str) -> Folds:
    """`speaker:5` or `session`. Raises ConfigError `option_invalid`."""
    by, colon, number = text.partition(":")
    if by not in UNITS or (colon and not (number.isdecimal() and int(number) > 1)):
        expected = f"one of {', '.join(UNITS)}, and :K, at least 2, for K folds"
        raise ConfigError("option_invalid", f"--folds {text!r}: expected {expected}")
    return Folds(cast(Unit, by), int(number) if colon else None)


def compare_folds(
    variants: Sequence[Variant],
    folds: Folds,
    seeds: int,
    folder: str | Path,
    *,
    start: Start | None = None,
    display: Display | None = None,
) -> Comparison:
    """`compare` in every fold of the first variant's clips, in `folder/fold-I`, put together by `pooled`.

    Raises what `compare` raises; DataError `split_impossible`.
    """
    display, found = display or Display(), []
    number, count = _number(variants[0].config.data, folds)
    for fold in range(count):
        display.note(f"fold {fold + 1} of {count}, by {folds.by}")
        inside = [replace(v, config=_in_fold(v.config, folds.by, number, fold)) for v in variants]
        found.append(compare(inside, seeds, Path(folder) / f"fold-{fold}", start=start, display=display))
    return pooled(variants, found)


def pooled(variants: Sequence[Variant], folds: Sequence[Comparison]) -> Comparison:
    """The comparisons of all folds as one of all clips; of several variants also `CHOSEN`."""
    rows = [[*fold.results, *_chosen(fold)] for fold in folds]
    names = dict.fromkeys(result.variant for result in rows[0])
    seeds = sorted({result.seed for result in rows[0]})
    by_name = {variant.name: variant for variant in variants}
    chosen = Variant(CHOSEN, variants[0].config)
    results = [
        _joined([next(r for r in fold if (r.variant, r.seed) == (name, seed)) for fold in rows])
        for seed in seeds
        for name in names
    ]
    return Comparison(
        tuple(by_name.get(name, chosen) for name in names),
        tuple(results),
        _all_tested([fold.tested for fold in folds]),
    )


def _number(data: DataConfig, folds: Folds) -> tuple[int, int]:
    """`DataConfig.folds`, and how many folds that makes."""
    clips = [clip for corpus in load_corpora(data) for clip in corpus.clips]
    number = folds.number
    if number is None:
        number = len(folds_of(clips, cast(Unit, folds.by.partition("+")[0]), None))
    return number, len(folds_of(clips, folds.by, number))


def _in_fold(config: ExperimentConfig, by: Unit, number: int, fold: int) -> ExperimentConfig:
    return replace(config, data=replace(config.data, folds=number, fold=fold, fold_by=by))


def _chosen(fold: Comparison) -> list[Result]:
    """The results of the variant that validation finds best; none of single modalities, or where there is no choice."""
    scores: dict[str, list[float]] = {}
    for result in fold.results:
        if result.alone is None:
            scores.setdefault(result.variant, []).append(
                np.nan if result.validation is None else result.validation
            )
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    if len(means) < 2 or not all(np.isfinite(value) for value in means.values()):
        return []
    best = max(means, key=lambda name: means[name])
    return [replace(result, variant=CHOSEN) for result in fold.results if result.variant == best]


def _joined(parts: Sequence[Result]) -> Result:
    """One result of all folds' clips."""
    first = parts[0]
    return replace(
        first,
        answers={
            subset: [said for part in parts for said in part.answers[subset]] for subset in first.answers
        },
        step_ms=float(np.median([part.step_ms for part in parts])),
        seconds=sum(part.seconds for part in parts),
        validation=None,
    )


def _all_tested(parts: Sequence[Tested]) -> Tested:
    return replace(
        parts[0],
        ids=tuple(name for part in parts for name in part.ids),
        truth=tuple(place for part in parts for place in part.truth),
        people=tuple(person for part in parts for person in part.people),
    )
