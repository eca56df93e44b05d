"""What a worker does with an index: a query in, the nearest clips out. Loaded only where there is one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from affetto.errors import ConfigError, ServingError
from affetto.predictor import Predictor
from affetto.predictor.inputs import Decoder
from affetto.search import Filters, Finder, Hit, Store
from affetto.search.find import query_vector
from affetto.search.indexing import require_same_bundle
from affetto.search.space import space_for
from affetto.serving.calls import Reply


class Finding:
    """Searches one index, whose bundle is that of the predictor."""

    def __init__(self, store: Store, predictor: Predictor, decoder: Decoder) -> None:
        """Raises DataError `index_of_another_bundle`."""
        require_same_bundle(store.origin, predictor)
        self._finder, self._predictor, self._decoder = Finder(store), predictor, decoder
        self._modalities = space_for(predictor).modalities

    def facts(self) -> dict[str, Any]:
        """What clients may know of the index."""
        store = self._finder.store
        return {"rows": len(store), "kind": store.origin.kind, "modalities": list(self._modalities)}

    def search(self, kind: str, query: bytes, top: int, filters: Mapping[str, str | None]) -> Reply:
        """The hits for a query, which is of a kind: speech, text or vision.

        Raises ServingError `value_invalid` for a date that is none, and a kind that has no vectors; MediaError.
        """
        if kind not in self._modalities:
            raise ServingError(
                "value_invalid", f"{kind}: the model reads none, expected {', '.join(self._modalities)}"
            )
        try:
            wanted = Filters(**filters)
        except ConfigError as error:
            raise ServingError("value_invalid", str(error)) from None
        given: dict[str, Any] = {
            "text": query.decode() if kind == "text" else None,
            "speech": query if kind == "speech" else None,
            "image": query if kind == "vision" else None,
        }
        vector = query_vector(self._finder.store.origin, self._predictor, self._decoder, **given)
        hits = [_told(hit) for hit in self._finder.find(vector, top, wanted)]
        return Reply({}, json.dumps({"hits": hits}, ensure_ascii=False).encode("utf-8", "replace"))


def _told(hit: Hit) -> dict[str, Any]:
    """A hit as clients see it: where its file lies is not their concern."""
    file = hit.entry.file
    return {**hit.to_dict(), "file": None if file is None else Path(file).name}
