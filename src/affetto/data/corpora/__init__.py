"""Readers: one file per corpus, one function each, from a corpus's folder to its Clips.

A reader takes the corpus in the layout its authors published, or as a folder with a `manifest.csv`.
`docs/add-a-corpus.md` shows how to write one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from affetto.data.manifest import Corpus
from affetto.errors import ConfigError, DataError
from affetto.labels import LABEL_SETS

CORPORA: Mapping[str, str] = {
    "affectnet": "affetto.data.corpora.affectnet:read",
    "ckplus": "affetto.data.corpora.ckplus:read",
    "cremad": "affetto.data.corpora.cremad:read",
    "dailydialog": "affetto.data.corpora.dailydialog:read",
    "digits": "affetto.data.corpora.digits:read",
    "emodb": "affetto.data.corpora.emodb:read",
    "emorynlp": "affetto.data.corpora.emorynlp:read",
    "emovo": "affetto.data.corpora.emovo:read",
    "esd": "affetto.data.corpora.esd:read",
    "fer2013": "affetto.data.corpora.fer2013:read",
    "ferplus": "affetto.data.corpora.ferplus:read",
    "folders": "affetto.data.corpora.folders:read",
    "goemotions": "affetto.data.corpora.goemotions:read",
    "iemocap": "affetto.data.corpora.iemocap:read",
    "manifest": "affetto.data.manifest:read_manifest_corpus",
    "meld": "affetto.data.corpora.meld:read",
    "mosei_raw": "affetto.data.corpora.mosei_raw:read",
    "mosi": "affetto.data.corpora.mosi:read",
    "msp_podcast": "affetto.data.corpora.msp_podcast:read",
    "nemo": "affetto.data.corpora.nemo:read",
    "rafdb": "affetto.data.corpora.rafdb:read",
    "ravdess": "affetto.data.corpora.ravdess:read",
    "savee": "affetto.data.corpora.savee:read",
    "table": "affetto.data.corpora.table:read",
    "tess": "affetto.data.corpora.tess:read",
    "xed": "affetto.data.corpora.xed:read",
}


@dataclass(frozen=True, slots=True)
class Description:
    """What a reader says of its corpus: one line, its licence, the labels that it publishes (() for any), and
    the reader's options with their defaults ("labels=four")."""

    name: str
    title: str
    licence: str
    labels: tuple[str, ...]
    options: tuple[str, ...]


def describe_corpora() -> tuple[Description, ...]:
    """All known corpora, in order of their names."""
    return tuple(_description(name) for name in CORPORA)


def corpus_reader(name: str) -> Callable[..., Corpus]:
    """The reader of that name. Raises DataError `corpus_unknown`, with the nearest known name."""
    if name not in CORPORA:
        nearest = get_close_matches(name, CORPORA, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(CORPORA)}"
        raise DataError("corpus_unknown", f"no reader named {name!r}: {hint}")
    module, _, function = CORPORA[name].partition(":")
    reader: Callable[..., Corpus] = getattr(import_module(module), function)
    return reader


def read_corpus(name: str, path: str | Path, /, **options: Any) -> Corpus:
    """Read the corpus at `path` with the reader `name`; `options` are that reader's own (XED's `languages`).

    Raises DataError `corpus_unknown`, `corpus_layout` where the folder is not that corpus, and what
    `read_manifest` raises; ConfigError `option_invalid` for an option that the reader does not have.
    """
    reader = corpus_reader(name)
    known = list(inspect.signature(reader).parameters.values())[1:]
    unknown = options.keys() - {option.name for option in known}
    if unknown and not any(option.kind is option.VAR_KEYWORD for option in known):
        expected = ", ".join(option.name for option in known) or "none"
        raise ConfigError("option_invalid", f"{name} has no option {min(unknown)!r}: expected {expected}")
    return reader(path, **options)


def _description(name: str) -> Description:
    reader = corpus_reader(name)
    module = import_module(reader.__module__)
    title = (module.__doc__ or "").partition("\n")[0].partition(": ")[2].partition(". ")[0]
    options = [_option(option) for option in list(inspect.signature(reader).parameters.values())[1:]]
    licence = getattr(module, "LICENCE", "not stated")
    return Description(name, title.rstrip("."), licence, tuple(LABEL_SETS.get(name, ())), tuple(options))


def _option(option: inspect.Parameter) -> str:
    if option.kind is option.VAR_KEYWORD:
        return "COLUMN=NAME"
    default = option.default
    return f"{option.name}={','.join(default) if isinstance(default, tuple) else default or '...'}"
