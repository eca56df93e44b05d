"""The ranges that settings keep to, as types."""

from __future__ import annotations

from typing import Annotated

from affetto.learn.settings import Range

Share = Annotated[float, Range(0.0, 1.0)]
Positive = Annotated[float, Range(0.0, open_low=True)]
NotNegative = Annotated[float, Range(0.0)]
Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
