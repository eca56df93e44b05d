"""Readers: one file per corpus, one function each, from a corpus's folder to its Clips.

A reader takes the corpus in the layout its authors published, or as a folder with a `manifest.csv`.
`docs/add-a-corpus.md` shows how to write one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from affetto.data.manifest import Corpus
from affetto.errors import DataError

CORPORA: Mapping[str, str] = {
    "emodb": "affetto.data.corpora.emodb:read",
    "ferplus": "affetto.data.corpora.ferplus:read",
    "goemotions": "affetto.data.corpora.goemotions:read",
    "manifest": "affetto.data.manifest:read_manifest_corpus",
    "mosi": "affetto.data.corpora.mosi:read",
    "nemo": "affetto.data.corpora.nemo:read",
    "ravdess": "affetto.data.corpora.ravdess:read",
    "xed": "affetto.data.corpora.xed:read",
}


def corpus_reader(name: str) -> Callable[..., Corpus]:
    """The reader of that name. Raises DataError `corpus_unknown`, with the nearest known name."""
    if name not in CORPORA:
        nearest = get_close_matches(name, CORPORA, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(CORPORA)}"
        raise DataError("corpus_unknown", f"no reader named {name!r}: {hint}")
    module, _, function = CORPORA[name].partition(":")
    reader: Callable[..., Corpus] = getattr(import_module(module), function)
    return reader


def read_corpus(name: str, path: str | Path, **options: Any) -> Corpus:
    """Read the corpus at `path` with the reader `name`; `options` are that reader's own (XED's `languages`).

    Raises DataError `corpus_unknown`, `corpus_layout` where the folder is not that corpus, and what
    `read_manifest` raises.
    """
    return corpus_reader(name)(path, **options)
