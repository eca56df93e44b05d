"""Pickles of arrays, as many features are published, read without running anything that they name.

A pickle is a small program that may call any function. This reader knows the few that rebuild a numpy array
and refuses all others before they are called.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from affetto.errors import DataError

#: What numpy itself names in the pickle of an array, by the name alone: its home has moved between versions.
_REBUILDERS: tuple[Any, ...] = (
    np.zeros(0).__reduce__()[0],
    np.zeros(1).__reduce_ex__(5)[0],
    np.float64(0).__reduce__()[0],
)
_REBUILD = {function.__name__: function for function in _REBUILDERS}


def read_arrays(path: Path) -> dict[str, Any]:
    """The mapping in a pickle, of arrays, numbers, text, lists, tuples and mappings.

    Raises DataError `corpus_layout` for a file that is no such pickle, or names anything else.
    """
    try:
        with path.open("rb") as file:
            found = _Arrays(file, encoding="latin1").load()  # latin1: what Python 2 wrote
    except DataError:
        raise
    except Exception as error:  # a broken pickle may raise anything
        raise DataError("corpus_layout", f"{path} is no pickle of arrays: {error}") from None
    if not isinstance(found, dict):
        raise DataError("corpus_layout", f"{path} holds a {type(found).__name__}: expected a mapping")
    return found


class _Arrays(pickle.Unpickler):
    """Finds what rebuilds arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module.startswith(("numpy.core.", "numpy._core.")) and name in _REBUILD:
            return _REBUILD[name]
        if (module, name) == ("_codecs", "encode"):  # bytes, as Python 2 and protocol 2 write them
            return _latin1
        raise DataError(
            "corpus_layout", f"a pickle that names {module}.{name}: not opened, it may run anything"
        )


def _latin1(text: str, encoding: str) -> bytes:
    return text.encode("latin1")
