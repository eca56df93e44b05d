"""A store's rows in a Qdrant collection: for those whose clips outgrow one machine, or who run a database anyway."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from affetto.errors import ConfigError
from affetto.search.find import Filters, Hit, names, spellings
from affetto.search.store import Entry, Origin, Shard, Store, utc

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_BATCH = 256
_NAMES = "names"  # what a label is searched by


class Collection:
    """Searches as a `Finder` does, with all filters, in a database reached through its client.

    Its name ends in the bundle's sha256, so that vectors of two bundles never meet.
    """

    def __init__(self, client: QdrantClient, name: str, origin: Origin) -> None:
        """The collection, made if it is not there. Raises ConfigError `extra_missing` without qdrant-client."""
        self._client, self._models = client, _models()
        self.name = f"{name}-{origin.sha256[:12]}"
        if not client.collection_exists(self.name):
            space = self._models.VectorParams(size=origin.width, distance=self._models.Distance.DOT)
            client.create_collection(self.name, vectors_config=space)

    def copy(self, store: Store) -> None:
        """Make the collection hold what the store holds. A copy that is stopped is begun again without harm."""
        wanted = {point for shard in store.shards for point in self._upload(shard)}
        gone = [point for point in self._points() if point not in wanted]
        for first in range(0, len(gone), _BATCH):
            self._client.delete(self.name, points_selector=gone[first : first + _BATCH])

    def find(self, query: np.ndarray, k: int = 10, filters: Filters = Filters()) -> list[Hit]:
        """The k rows nearest to a vector [D], the best first."""
        condition = self._condition(filters)
        answer = self._client.query_points(
            self.name, query=query.tolist(), limit=k, query_filter=condition, with_payload=True
        )
        return [Hit(point.score, _entry(point.payload)) for point in answer.points]

    def _upload(self, shard: Shard) -> Iterator[str]:
        """The rows of a shard as points; their ids."""
        for first in range(0, len(shard), _BATCH):
            vectors = shard.vectors[first : first + _BATCH]
            entries = [shard.entry(first + row) for row in range(len(vectors))]
            ids = [_identity(entry) for entry in entries]
            payloads = [{**asdict(entry), _NAMES: names(entry)} for entry in entries]
            points = self._models.Batch(ids=ids, vectors=vectors.tolist(), payloads=payloads)
            self._client.upsert(self.name, points=points)
            yield from ids

    def _points(self) -> Iterator[str]:
        offset = None
        while True:
            found, offset = self._client.scroll(self.name, limit=1000, offset=offset, with_payload=False)
            yield from (str(point.id) for point in found)
            if offset is None:
                return

    def _condition(self, filters: Filters) -> Any:
        models = self._models
        equal = {"speaker": filters.speaker, "modality": filters.modality}
        must = [
            models.FieldCondition(key=name, match=models.MatchValue(value=value))
            for name, value in equal.items()
            if value is not None
        ]
        if filters.label is not None:
            any_of = models.MatchAny(any=spellings(filters.label))
            must.append(models.FieldCondition(key=_NAMES, match=any_of))
        if filters.after is not None or filters.before is not None:
            after, before = (None if date is None else utc(date) for date in (filters.after, filters.before))
            must.append(models.FieldCondition(key="date", range=models.DatetimeRange(gte=after, lt=before)))
        return models.Filter(must=must)


def _identity(entry: Entry) -> str:
    """The same for the same row of the same clip, so that a second copy replaces the first."""
    return str(uuid5(NAMESPACE_URL, f"{entry.stamp}/{entry.modality}/{entry.start}"))


def _entry(payload: dict[str, Any]) -> Entry:
    return Entry(**{each.name: payload[each.name] for each in fields(Entry)})


def _models() -> Any:
    try:
        from qdrant_client import models
    except ImportError:
        message = 'Qdrant needs its client: pip install "affetto[qdrant]"'
        raise ConfigError("extra_missing", message) from None
    return models
