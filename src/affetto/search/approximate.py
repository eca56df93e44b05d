"""An inverted-file index over a store's shards, by faiss: for stores too large to compare every vector.

Vectors are sorted into cells around k-means centroids and kept as 8-bit numbers; a query looks into the nearest
cells only (Jégou et al. 2011; Douze et al. 2024), and the best candidates are compared again with the vectors as
they are. Each shard is one file, written whole: a build that is killed goes on with the next shard.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from affetto.errors import ConfigError
from affetto.files import write_whole
from affetto.search.exact import Nearest, best
from affetto.search.store import Shard, Store

ABOVE = 100_000  # rows from which this is worth its while
_PER_CELL = 64  # training vectors for each centroid
_LOOKED_INTO = 1 / 32  # of the cells
_CANDIDATES = 10  # compared again, for each result


class Approximate:
    """A store's rows, ready to be asked. What is missing on disk is built first."""

    def __init__(self, store: Store) -> None:
        """Raises ConfigError `extra_missing` without faiss, DataError `output_unwritable`."""
        faiss = _faiss()
        self._store = store
        self._index: Any = None
        for first, path in zip(store.firsts, build(store), strict=True):
            part = faiss.read_index(str(path))
            if self._index is None:
                self._index = part
            else:
                self._index.merge_from(part, first)
        self._index.nprobe = max(8, round(self._index.nlist * _LOOKED_INTO))

    def nearest(self, query: np.ndarray, k: int) -> Nearest:
        """As `exact.nearest`, though a row may be missed."""
        _, found = self._index.search(query[None].astype(np.float32), k * _CANDIDATES)
        rows = found[0][found[0] >= 0]
        return best(rows, self._store.vectors(rows) @ query, k)


def build(store: Store) -> list[Path]:
    """The file of each shard, those that are not there made now; those of shards that are gone are deleted."""
    cells = _cells(len(store))
    folder = store.folder / "approximate" / str(cells)
    folder.mkdir(parents=True, exist_ok=True)
    trained = folder / "trained.faiss"
    if not trained.exists():
        write_whole(trained, _train(store, cells))
    paths = [folder / f"{shard.name}.faiss" for shard in store.shards]
    for shard, path in zip(store.shards, paths, strict=True):
        if not path.exists():
            write_whole(path, _filled(trained, shard))
    for path in folder.parent.rglob("*.faiss"):
        if path not in (trained, *paths):
            path.unlink()
    return paths


def _cells(rows: int) -> int:
    """A power of two near the square root: a store that grows fourfold is trained anew."""
    return 2 ** max(3, round(np.log2(max(rows, 1)) / 2))


def _train(store: Store, cells: int) -> bytes:
    faiss = _faiss()
    width = store.origin.width
    index = faiss.index_factory(width, f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.min_points_per_centroid = 0, 1
    rng = np.random.default_rng(0)
    share = min(1.0, cells * _PER_CELL / len(store))
    drawn = [
        shard.vectors[np.sort(rng.choice(len(shard), max(1, round(share * len(shard))), replace=False))]
        for shard in store.shards
    ]
    index.train(np.concatenate(drawn))
    return faiss.serialize_index(index).tobytes()


def _filled(trained: Path, shard: Shard) -> bytes:
    faiss = _faiss()
    index = faiss.read_index(str(trained))
    index.add(np.ascontiguousarray(shard.vectors))
    return faiss.serialize_index(index).tobytes()


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ConfigError(
            "extra_missing",
            f'an index of more than {ABOVE:,} vectors is searched with faiss: pip install "affetto[search]"',
        ) from None
    return faiss
