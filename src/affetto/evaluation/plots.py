"""Plots as inline SVG, for pages that need no network: numbers in, markup out. Colours are the page's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 12, 44  # margins, where the axes are labelled
_TICKS = 5


def reliability_diagram(confidence: Sequence[float], accuracy: Sequence[float]) -> str:
    """How often answers [B] of a mean confidence [B] were right: on the diagonal where confidence is honest."""
    diagonal = f'<path class="guide" d="M{_point(0, 0)}L{_point(1, 1)}"/>'
    gaps = "".join(
        f'<path class="gap" d="M{_point(c, c)}L{_point(c, a)}"/>'
        for c, a in zip(confidence, accuracy, strict=True)
    )
    dots = "".join(_dot(c, a) for c, a in zip(confidence, accuracy, strict=True))
    return _plot("Reliability diagram", "Confidence", "Right", diagonal + gaps + dots)


def risk_coverage_curve(coverage: Sequence[float], risk: Sequence[float], marked: float) -> str:
    """Errors [N] among the most confident answers, by the share [N] of clips that is answered.

    The curve is filled down to 0; a dot stands at the coverage `marked`, a line at the error of answering all.
    """
    top = _ceiling(max(risk))
    points = "L".join(_point(c, r / top) for c, r in zip(coverage, risk, strict=True))
    area = f'<path class="area" d="M{_point(coverage[0], 0)}L{points}L{_point(coverage[-1], 0)}Z"/>'
    line = f'<path class="line" d="M{points}"/>'
    whole = f'<path class="guide" d="M{_point(0, risk[-1] / top)}L{_point(1, risk[-1] / top)}"/>'
    nearest = min(range(len(coverage)), key=lambda i: abs(coverage[i] - marked))
    dot = _dot(coverage[nearest], risk[nearest] / top)
    return _plot("Risk-coverage curve", "Clips answered", "Wrong", area + whole + line + dot, top)


def noise_curve(
    names: Sequence[str], values: Sequence[float], lows: Sequence[float], highs: Sequence[float]
) -> str:
    """Scores [N] with their intervals at named levels of noise, from left to right."""
    places = [(i + 0.5) / len(names) for i in range(len(names))]
    line = "L".join(_point(x, y) for x, y in zip(places, values, strict=True))
    bars = "".join(
        f'<path class="bar" d="M{_point(x, low)}L{_point(x, high)}"/>'
        for x, low, high in zip(places, lows, highs, strict=True)
    )
    dots = "".join(_dot(x, y) for x, y in zip(places, values, strict=True))
    drawn = f'{bars}<path class="line" d="M{line}"/>{dots}'
    return _plot(
        "Speech with noise", "Signal to noise", "UAR", drawn, steps=dict(zip(places, names, strict=True))
    )


def _plot(
    title: str,
    across: str,
    up: str,
    drawn: str,
    top: float = 1.0,
    steps: dict[float, str] | None = None,
) -> str:
    """Axes around what is drawn: shares in per cent, upwards to `top`; or named steps from left to right."""
    marks = steps or {i / _TICKS: f"{100 * i / _TICKS:.0f} %" for i in range(_TICKS + 1)}
    base = _HEIGHT - _BOTTOM
    grid = []
    for i in range(_TICKS + 1):
        y = _y(i / _TICKS)
        grid.append(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
        grid.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{_share(top * i / _TICKS)}</text>')
    grid += [
        f'<text x="{_x(place)}" y="{base + 18}" text-anchor="middle">{escape(name)}</text>'
        for place, name in marks.items()
    ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    names = (
        f'<text class="axis" x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(across)}</text>'
        f'<text class="axis" transform="translate(12 {(_TOP + base) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(up)}</text>"
    )
    return (
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(grid)}{names}{drawn}</svg>"
    )


def _dot(x: float, y: float) -> str:
    return f'<circle class="dot" cx="{_x(x)}" cy="{_y(y)}" r="4.5"/>'


def _point(x: float, y: float) -> str:
    return f"{_x(x)} {_y(y)}"


def _x(share: float) -> float:
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(share: float) -> float:
    return round(_TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM), 1)


def _ceiling(value: float) -> float:
    """Where an axis ends, so that its ticks are round numbers."""
    return next((top for top in (0.05, 0.1, 0.25, 0.5, 0.75) if value <= top), 1.0)


def _share(value: float) -> str:
    return f"{100 * value:g} %" if math.isclose(100 * value, round(100 * value)) else f"{100 * value:.1f} %"
