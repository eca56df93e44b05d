"""Faces that stand in a table: `fer2013.csv`, whose cells are the pixels of pictures of 48 by 48."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from affetto.data.corpora.layout import csv_rows
from affetto.errors import DataError

_SIZE = 48


def unpack(table: Path, names: Sequence[str], archive: Path) -> None:
    """Write the face of each row of `table` as PNG into `archive` under its name, whole or not at all.

    A row with an empty name, or with one that was there before, is passed over. Raises DataError
    `corpus_layout` where the table has another number of rows, or a cell is no picture; `output_unwritable`.
    """
    from PIL import Image

    part = archive.with_name(archive.name + ".part")
    rows = csv_rows(table, ["pixels", "Usage"])
    written = {""}
    try:
        with zipfile.ZipFile(part, "w") as opened:
            for number, (name, row) in enumerate(zip(names, rows, strict=True), start=1):
                if name not in written:
                    written.add(name)
                    buffer = io.BytesIO()
                    Image.fromarray(_grey(row["pixels"], table, number)).save(buffer, "PNG")
                    opened.writestr(name, buffer.getvalue())
        part.replace(archive)
    except ValueError:
        message = f"{table} and its {len(names)} labels differ in their number of rows: not the same corpus"
        raise DataError("corpus_layout", message) from None
    except OSError as error:
        message = f"cannot unpack the faces of {table} into {archive}: {error.strerror or error}"
        raise DataError("output_unwritable", message) from None
    finally:
        part.unlink(missing_ok=True)


def _grey(text: str, path: Path, row: int) -> np.ndarray:
    """The picture [48 48] uint8 of a cell of 2304 numbers."""
    try:
        values = np.array(text.split(), dtype=np.int64)
        if values.size != _SIZE * _SIZE or values.min() < 0 or values.max() > 255:
            raise ValueError
    except (ValueError, AttributeError):
        message = f"{path}, row {row}: expected {_SIZE * _SIZE} numbers from 0 to 255"
        raise DataError("corpus_layout", message) from None
    return values.astype(np.uint8).reshape(_SIZE, _SIZE)
