"""Times as files write them: 1:02:03.5, 00:01:02,500, 62.5."""

from __future__ import annotations

import math
import re

#: Later than this nothing is: eleven days. A larger number is another unit, or damage.
LATEST = 1_000_000.0

_CLOCK = re.compile(r"(?:(\d{1,4}):)?([0-5]?\d):([0-5]?\d)(?:[.,](\d{1,6}))?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def parse_clock(text: str) -> float | None:
    """Seconds of `[hours:]minutes:seconds[.fraction]`, point or comma; None for anything else."""
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        return None
    hours, minutes, seconds, fraction = match.groups()
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    digits = fraction or "0"
    # One division of whole numbers: the nearest float, the same for "1.5" and "1.500".
    return (whole * 10 ** len(digits) + int(digits)) / 10 ** len(digits)


def parse_seconds(text: str) -> float | None:
    """Seconds of a decimal number, point or comma, or of a clock time; None for anything else."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return float(text.replace(",", "."))
    return parse_clock(text)


def format_clock(seconds: float, point: str = ".") -> str:
    """`00:01:02.500`, to the millisecond; hours as many as there are."""
    minutes, milliseconds = divmod(to_milliseconds(seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"


def to_milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def fault(start: float, end: float) -> str | None:
    """What is wrong with a stretch of time; None when nothing is."""
    if not (math.isfinite(start) and math.isfinite(end)):
        return "a time is not a finite number"
    if start < 0:
        return f"starts at {start:g} s, before the recording does"
    if end < start:
        return f"ends at {end:g} s, before it starts at {start:g} s"
    if end > LATEST:
        return f"ends at {end:g} s: expected seconds, at most {LATEST:,.0f}"
    return None
