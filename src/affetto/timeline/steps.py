"""The steps of a timeline as numbers: an hour takes some megabytes, and becomes Segments where it is read."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from affetto.records import Segment, Verdict

NO_SPEECH = "no_speech"
LOW_CONFIDENCE = "low_confidence"
_REASONS = (None, NO_SPEECH, LOW_CONFIDENCE)


class Steps(Sequence[Segment]):
    """Segments in the order of time, each made when it is asked for.

    Step k is [k hop, (k + 1) hop) seconds, the last cut at the end of the recording. `words` maps a step to
    the words said in it, and may be filled in later than the step is added.
    """

    def __init__(self, labels: Sequence[str], views: Sequence[str], hop: float) -> None:
        self.labels = tuple(labels)
        self.views = tuple(views)
        self.hop = hop
        self.words: Mapping[int, tuple[str, ...]] = {}
        self._width = len(self.labels)
        # Per step: end, speech, reason; then for the vote and each view a weight and the probabilities.
        self._row = 3 + (1 + len(self.views)) * (1 + self._width)
        self._values = array("d")

    def add(
        self,
        end: float,
        speech: float | None,
        reason: str | None,
        probabilities: Mapping[str, float],
        verdicts: Mapping[str, Verdict],
    ) -> Segment:
        """Append a step that ends at `end` seconds, and give it back as a Segment."""
        nothing = [float("nan")] * (1 + self._width)
        self._values.extend([end, np.nan if speech is None else speech, _REASONS.index(reason)])
        self._values.extend([np.nan, *probabilities.values()] if probabilities else nothing)
        for view in self.views:
            verdict = verdicts.get(view)
            if verdict is None:
                self._values.extend(nothing)
            else:
                weight = np.nan if verdict.weight is None else verdict.weight
                self._values.extend([weight, *verdict.probabilities.values()])
        return self[-1]

    def probabilities(self) -> NDArray[np.float64]:
        """[S C]: of every step; NaN where nobody speaks."""
        return self._table()[:, 4 : 4 + self._width]

    def ends(self) -> NDArray[np.float64]:
        """[S] seconds."""
        return self._table()[:, 0]

    def unsure(self) -> NDArray[np.bool_]:
        """[S]: whether a step abstains for want of confidence."""
        return self._table()[:, 2] == _REASONS.index(LOW_CONFIDENCE)

    def _table(self) -> NDArray[np.float64]:
        return (
            np.frombuffer(self._values).reshape(-1, self._row) if self._values else np.zeros((0, self._row))
        )

    def __len__(self) -> int:
        return len(self._values) // self._row

    @overload
    def __getitem__(self, index: int) -> Segment: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Segment, ...]: ...
    def __getitem__(self, index: int | slice) -> Segment | tuple[Segment, ...]:
        if isinstance(index, slice):
            return tuple(self._segment(step) for step in range(*index.indices(len(self))))
        step = index + len(self) if index < 0 else index
        if not 0 <= step < len(self):
            raise IndexError(f"step {index} of {len(self)}")
        return self._segment(step)

    def __iter__(self) -> Iterator[Segment]:
        return (self._segment(step) for step in range(len(self)))

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def _segment(self, step: int) -> Segment:
        row = self._values[step * self._row : (step + 1) * self._row]
        end, speech, reason = row[0], row[1], _REASONS[int(row[2])]
        wide = 1 + self._width
        said = self._shares(row, 3)
        verdicts = {}
        for place, view in enumerate(self.views):
            at = 3 + (1 + place) * wide
            shares = self._shares(row, at)
            if shares:
                best = max(shares, key=shares.__getitem__)
                verdicts[view] = Verdict(best, shares, _given(row[at]))
        return Segment(
            start=step * self.hop,
            end=end,
            emotion=None if reason else max(said, key=said.__getitem__),
            probabilities=said,
            modalities=verdicts,
            words=self.words.get(step, ()),
            speech=_given(speech),
            reason=reason,
        )

    def _shares(self, row: Sequence[float], at: int) -> dict[str, float]:
        values = row[at + 1 : at + 1 + self._width]
        return {} if _given(values[0]) is None else dict(zip(self.labels, values, strict=True))


def _given(value: float) -> float | None:
    return None if value != value else value
