"""Every vector compared: right by construction, and fast enough for some 100,000."""

from __future__ import annotations

import numpy as np

from affetto.search.store import Store

Nearest = tuple[np.ndarray, np.ndarray]  # rows [K] int64 and their scores [K], the best first


def nearest(store: Store, query: np.ndarray, k: int, wanted: np.ndarray | None = None) -> Nearest:
    """The k rows with the largest dot product with `query` [D], among `wanted` [R] bool where it is given.

    Equal scores stand in the order of their rows.
    """
    if not len(store):
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    scores = np.concatenate([shard.vectors @ query for shard in store.shards])
    rows = np.arange(len(scores)) if wanted is None else np.flatnonzero(wanted)
    return best(rows, scores[rows], k)


def best(rows: np.ndarray, scores: np.ndarray, k: int) -> Nearest:
    """The k rows of the largest scores, in order."""
    if len(rows) > k > 0:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        rows, scores = rows[scores >= least], scores[scores >= least]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]
