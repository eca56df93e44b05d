"""A sentence, a sound or a picture and some filters in, the nearest rows of a store out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from affetto.errors import ConfigError, DataError
from affetto.labels import canonical
from affetto.predictor import Predictor
from affetto.predictor.inputs import Decoder
from affetto.search import approximate, exact
from affetto.search.indexing import require_same_bundle
from affetto.search.space import recording_place, space_for
from affetto.search.store import Entry, Origin, Store, utc


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rows may be found; what is None does not matter. Dates are ISO 8601, UTC where they do not say."""

    label: str | None = None
    speaker: str | None = None
    modality: str | None = None
    after: str | None = None
    before: str | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError `option_invalid` for a date that is none."""
        for date in (self.after, self.before):
            if date is not None:
                _utc(date)

    def pass_all(self) -> bool:
        """Whether nothing is asked for."""
        return self == Filters()

    def admit(self, entry: Entry) -> bool:
        """Whether a row may be found; one without a date is neither after nor before any."""
        if self.label is not None and not set(spellings(self.label)) & set(names(entry)):
            return False
        if self.speaker is not None and self.speaker != entry.speaker:
            return False
        if self.modality is not None and self.modality != entry.modality:
            return False
        if self.after is not None and (entry.date is None or entry.date < _utc(self.after)):
            return False
        return self.before is None or (entry.date is not None and entry.date < _utc(self.before))


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found, and how alike it is: a dot product, at most 1."""

    score: float
    entry: Entry

    def to_dict(self) -> dict[str, Any]:
        """The shape of a line of `affetto search --json`."""
        entry = self.entry
        return {
            "score": round(self.score, 6),
            "id": entry.id,
            "file": entry.file,
            "modality": entry.modality,
            "start": entry.start,
            "end": entry.end,
            "text": entry.text,
            "corpus": entry.corpus,
            "speaker": entry.speaker,
            "labels": dict(entry.labels),
            "date": entry.date,
        }


class Finder:
    """Searches a store: exactly up to `approximate.ABOVE` rows and with filters, else by cells."""

    def __init__(self, store: Store) -> None:
        """Raises ConfigError `extra_missing` for a large store without faiss."""
        self.store = store
        self._cells = approximate.Approximate(store) if len(store) > approximate.ABOVE else None

    def find(self, query: np.ndarray, k: int = 10, filters: Filters = Filters()) -> list[Hit]:
        """The k rows nearest to a vector [D], the best first."""
        if filters.pass_all() and self._cells is not None:
            rows, scores = self._cells.nearest(query, k)
        else:
            wanted = (
                None if filters.pass_all() else np.array([*map(filters.admit, self.store.entries())], bool)
            )
            rows, scores = exact.nearest(self.store, query, k, wanted)
        return [
            Hit(float(score), self.store.entry(int(row))) for row, score in zip(rows, scores, strict=True)
        ]


def query_vector(
    origin: Origin,
    predictor: Predictor,
    decoder: Decoder,
    *,
    text: str | None = None,
    speech: str | bytes | None = None,
    image: str | bytes | None = None,
) -> np.ndarray:
    """What a search asks for [D], from just one of words, a recording and a picture (files, or their bytes).

    Raises ConfigError `option_invalid` for none or several; DataError `index_of_another_bundle`; and as
    `Predictor.embed` does.
    """
    require_same_bundle(origin, predictor)
    if sum(given is not None for given in (text, speech, image)) != 1:
        raise ConfigError("option_invalid", "give one query: words, --speech FILE or --image FILE")
    space = space_for(predictor)
    if speech is not None:
        return recording_place(speech, space, predictor, decoder)
    return space.words(text) if text is not None else space.place(vision=image)


def names(entry: Entry) -> list[str]:
    """The labels of a row, of all tasks, in small letters."""
    return [name.lower() for label in entry.labels.values() for name in label.split("|")]


def spellings(label: str) -> list[str]:
    """A label as it is typed, and the emotion that it is a spelling of."""
    try:
        return [label.lower(), canonical(label)]
    except DataError:
        return [label.lower()]


def _utc(date: str) -> str:
    try:
        return utc(date)
    except ValueError:
        raise ConfigError(
            "option_invalid", f"date {date!r}: expected ISO 8601, like 2026-05-01 or 2026-05-01T14:30"
        ) from None
