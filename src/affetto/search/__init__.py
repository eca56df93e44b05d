"""Clips to an index on disk, and the clips nearest to a sentence, a sound or a picture. No torch.

space        what a clip's vectors are: places in a bundle's one space, or its profile of emotions
store        the index on disk: memory-mapped shards of vectors beside the facts of each
indexing     clips into a store, going on where a run was stopped
exact        every vector compared
approximate  an inverted-file index over the store's shards, by faiss, for large stores
find         a query and filters in, hits out
qdrant       a store's rows in a vector database
"""

from affetto.search.find import Filters, Finder, Hit
from affetto.search.indexing import Report, index_clips
from affetto.search.store import Entry, Origin, Store

__all__ = ["Entry", "Filters", "Finder", "Hit", "Origin", "Report", "Store", "index_clips"]
