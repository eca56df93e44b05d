"""Precomputed features in `.npz` archives: `archive.npz#array`, or one row of an array, `archive.npz#array/7`.

What is stored for a clip is a vector [D] or a sequence [T D]. Sequences of unlike lengths stand in one array
[N T D], filled up with zeros at either end, as the published sets do: such steps are no steps and are cut off.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from affetto.errors import DataError
from affetto.records import Clip


class FeatureArchives:
    """Reads features by their source. Each array is read once, whole, and kept; nothing is ever unpickled."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, str], NDArray[np.float32]] = {}

    def read(self, source: str) -> NDArray[np.float32]:
        """The features [T D] of a source; a vector is a sequence of one step.

        Raises DataError `features_invalid` for what is no such source, no archive, not there, not numbers, of
        another shape, or not finite.
        """
        path, mark, name = source.partition("#")
        if not mark or not path.lower().endswith(".npz") or not name:
            raise _invalid(source, "expected FILE.npz#ARRAY or FILE.npz#ARRAY/ROW")
        array, _, row = name.rpartition("/")
        if array and row.isdecimal() and not self._holds(path, name, source):
            rows = self._array(path, array, source)
            if int(row) >= len(rows):
                raise _invalid(source, f"the array has {len(rows)} rows")
            values = rows[int(row)]
        else:
            values = self._array(path, name, source)
        if values.ndim == 1:
            values = values[None]
        if values.ndim != 2 or not values.shape[1]:
            raise _invalid(source, f"expected [D] or [T D], got {list(values.shape)}")
        if not np.isfinite(values).all():
            raise _invalid(source, "it holds values that are not finite")
        return without_padding(values)

    def _holds(self, path: str, name: str, source: str) -> bool:
        """Whether an array is called all of this: names with a slash and a number are allowed."""
        if (path, name) in self._arrays:
            return True
        if (path, name.rpartition("/")[0]) in self._arrays:  # the common case, without opening the file
            return False
        try:
            with zipfile.ZipFile(path) as archive:
                return f"{name}.npy" in archive.namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise _invalid(source, f"no .npz archive can be opened: {error}") from None

    def _array(self, path: str, name: str, source: str) -> NDArray[np.float32]:
        key = path, name
        if key not in self._arrays:
            try:
                with np.load(path, allow_pickle=False) as archive:
                    if name not in archive:
                        raise _invalid(source, f"the archive has {', '.join(archive.files) or 'nothing'}")
                    values = archive[name]
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                raise _invalid(source, f"it cannot be read: {error}") from None
            if values.dtype.kind not in "fiu":
                raise _invalid(source, f"expected numbers, got {values.dtype}")
            self._arrays[key] = values.astype(np.float32, copy=False)
        return self._arrays[key]


def feature_sizes(clips: Sequence[Clip]) -> dict[str, int]:
    """Modality to the values per step of its features, by the first clip that brings them.

    Raises DataError `features_invalid`.
    """
    archives = FeatureArchives()
    first: dict[str, str] = {}
    for clip in clips:
        first = {**clip.features, **first}
    return {name: archives.read(source).shape[1] for name, source in first.items()}


def without_padding(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A sequence [T D] without the all-zero steps before and after; of nothing but zeros, one step."""
    real = np.flatnonzero(values.any(axis=1))
    return values[real[0] : real[-1] + 1] if len(real) else values[:1]


def _invalid(source: str, reason: str) -> DataError:
    return DataError("features_invalid", f"features {source!r}: {reason}")
