"""Answers to labelled clips as they are stored: one JSON object a line, from which all figures can be made again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from affetto.errors import DataError

#: `all`: what the clip has was answered; `subset`: a part of it; `noise`: its speech alone, with noise added.
Trial = Literal["all", "subset", "noise"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One question put to a model, and what it said; `truth` is the clip's label.

    inputs: the modalities that were answered. snr: of the noise added, in dB. error: the code of what kept the
    model from an answer; `probabilities` are then empty. abstained: it said "unsure", for `reason`.
    """

    id: str
    truth: str
    trial: Trial
    inputs: tuple[str, ...]
    snr: float | None = None
    probabilities: Mapping[str, float] | None = None
    abstained: bool = False
    reason: str | None = None
    error: str | None = None
    speaker: str | None = None
    gender: str | None = None
    language: str | None = None
    corpus: str | None = None
    text: str | None = None

    @property
    def said(self) -> str:
        """The most probable class, also where the model abstained; of an answer without error only."""
        shares = self.probabilities or {}
        return max(shares, key=lambda name: shares[name])

    @property
    def confidence(self) -> float:
        """The probability of `said`."""
        return max((self.probabilities or {}).values())


_NAMES = tuple(field.name for field in fields(Answer))


def to_lines(answers: Iterable[Answer]) -> str:
    """The answers as JSON lines."""
    return "".join(json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers)


def from_lines(text: str) -> list[Answer]:
    """What `to_lines` wrote. Raises DataError `predictions_invalid` with the line that is something else."""
    return [_answer(line, number) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _answer(line: str, number: int) -> Answer:
    try:
        record = json.loads(line)
        answer = Answer(**{**record, "inputs": tuple(record["inputs"])})
        shares = _numbers(answer.probabilities)
        if not isinstance(answer.truth, str) or (answer.error is None) != bool(shares):
            raise ValueError("expected a truth, and probabilities or an error")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            "predictions_invalid",
            f"predictions, line {number}: {error}; expected an object with {', '.join(_NAMES)}, as "
            "`affetto evaluate --report` writes it",
        ) from error
    return answer


def _numbers(shares: Any) -> list[float]:
    values = [float(value) for value in (shares or {}).values()]
    if not all(map(math.isfinite, values)):
        raise ValueError("a probability is not a finite number")
    return values
