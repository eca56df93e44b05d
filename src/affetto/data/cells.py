"""One cell of a manifest: text from CSV, any JSON value from JSONL and Parquet, to what a column holds.

All raise DataError `manifest_row_invalid`, naming the value and what was expected.
"""

from __future__ import annotations

import json
import math
from typing import Any

from affetto.errors import DataError

_TRUTHS = {**dict.fromkeys(("1", "true", "yes"), True), **dict.fromkeys(("0", "false", "no"), False)}


def text(value: Any) -> str | None:
    """Any value as trimmed text; None for nothing."""
    found = written(value)
    return found.strip() if found else None


def written(value: Any) -> str | None:
    """Any value as text, spaces kept; None for nothing, for not-a-number and for blanks.

    15.0 is "15": a table with gaps widens its integers.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    nested = isinstance(value, (list, tuple, dict))
    found = json.dumps(value, ensure_ascii=False, default=str) if nested else str(value)
    try:
        found.encode()
    except UnicodeEncodeError:
        raise invalid(f"{found!r} holds half a character (a lone surrogate); repair the text") from None
    return found if found.strip() else None


def number(value: Any, column: str) -> float | None:
    """A finite number; None for nothing."""
    found = text(value)
    if found is None:
        return None
    try:
        parsed = float(found)
    except ValueError:
        parsed = math.nan
    if not math.isfinite(parsed):
        raise invalid(f"{column} is {found!r}: expected a number")
    return parsed


def seconds(value: Any, column: str) -> float | None:
    """A time from 0 on; None for nothing."""
    found = number(value, column)
    if found is not None and found < 0:
        raise invalid(f"{column} is {found:g}: expected seconds from 0")
    return found


def truth(value: Any, column: str) -> bool:
    """Yes or no; nothing is no."""
    found = text(value) or "0"
    if found.lower() not in _TRUTHS:
        raise invalid(f"{column} is {found!r}: expected yes or no")
    return _TRUTHS[found.lower()]


def invalid(message: str) -> DataError:
    """The error for a row that cannot be read."""
    return DataError("manifest_row_invalid", message)
