"""A timeline in a terminal: a row of blocks over time, what they stand for, and the spans with their words.

```
  ████████████      ██████████████████████
  anger             happiness
  0:00      0:05      0:10      0:15
  █ anger 35%  █ happiness 65%  nobody speaks 0:02.5

  0:00–0:06    anger       81%  “I said no”
```

Blocks of a console without colour, or without Unicode, are letters, so that the row can be read there too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from textwrap import wrap

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from affetto.cli.show import Glyphs, glyphs, printable, style_of
from affetto.records import Prediction, Span
from affetto.timeline.wording import NOBODY, UNSURE, called, clock, heard, length

_LISTED = 12  # spans below the row
_NAME = 10  # columns of an emotion in the list
_SHADE = "▒"
_WIDEST = 120  # a longer row of blocks says no more
_TICKS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # seconds


def show_strip(prediction: Prediction, console: Console) -> None:
    """Print the timeline of an answer; nothing where it has none."""
    coloured = console.color_system is not None and not console.no_color
    for line in strip(prediction, console.width, glyphs(console), coloured=coloured):
        line.rstrip()
        if not console.encoding.lower().startswith("utf"):
            line = _encodable(line, console.encoding)
        console.print(line, highlight=False, no_wrap=True, overflow="crop", crop=True)


def strip(prediction: Prediction, width: int, marks: Glyphs, *, coloured: bool) -> list[Text]:
    """The timeline as lines for a window of `width` columns, from 40 on."""
    spans = prediction.spans
    if not spans:
        return []
    room = min(width, _WIDEST) - 4
    seconds = length(prediction) or 1.0
    names = _columns(spans, room, seconds)
    plain = not coloured or marks.eighths[-1] == "#"
    signs = _letters(heard(spans)) if plain else _coloured(heard(spans), marks)
    lines = [_blocks(names, signs, "." if plain else " "), _names(names), _axis(seconds, room)]
    lines += _legend(prediction, signs, room)
    drawn = [Text("  ").append_text(line) for line in lines if line.plain.strip()]
    return [*drawn, Text(), *_list(spans, width, marks)]


def _columns(spans: Sequence[Span], count: int, seconds: float) -> list[str | None]:
    """What is heard longest in each of `count` equal parts of the recording; None: nobody speaks in it."""
    step = seconds / count
    totals: list[dict[str | None, float]] = [{} for _ in range(count)]
    for span in (span for span in spans if called(span) is not None):
        first, last = int(span.start / step), min(int(span.end / step), count - 1)
        for column in range(first, last + 1):
            part = min(span.end, (column + 1) * step) - max(span.start, column * step)
            if part > 0:
                totals[column][called(span)] = totals[column].get(called(span), 0.0) + part
    return [max(total, key=lambda name: total[name]) if total else None for total in totals]


def _coloured(names: Iterable[str], marks: Glyphs) -> dict[str, str]:
    return {name: _SHADE if name == UNSURE else marks.eighths[-1] for name in names}


def _letters(names: Iterable[str]) -> dict[str, str]:
    """A letter for each name, its first that no other has."""
    letters: dict[str, str] = {}
    for name in names:
        free = [letter for letter in name if letter.isalnum() and letter not in letters.values()]
        letters[name] = free[0] if free else "?"
    return letters


def _blocks(names: Sequence[str | None], marks: Mapping[str, str], silence: str) -> Text:
    line = Text()
    for name, run in groupby(names):
        count = len(list(run))
        line.append(silence * count) if name is None else line.append(marks[name] * count, style_of(name))
    return line


def _names(names: Sequence[str | None]) -> Text:
    """The name under each run of blocks that has room for a part of it that can be told."""
    line = Text()
    for name, run in groupby(names):
        count = len(list(run))
        told = printable(name)[: count - 1] if name and count >= 4 else ""
        line.append(f"{told:<{count}}", style_of(name))
    return line


def _axis(seconds: float, room: int) -> Text:
    per_column = seconds / room
    step = next((tick for tick in _TICKS if tick >= 10 * per_column), 8 * _TICKS[-1])
    line = ""
    for tick in range(int(seconds / step) + 1):
        place = round(tick * step / per_column)
        label = clock(tick * step)
        if place + len(label) <= room:
            line = f"{line:<{place}}{label}"
    return Text(line, style="dim")


def _legend(prediction: Prediction, signs: Mapping[str, str], room: int) -> list[Text]:
    """The share of the time spoken that each emotion has, in as many lines as it takes."""
    seconds = heard(prediction.spans)
    total = sum(seconds.values())
    entries = []
    for name, part in seconds.items():
        entries.append(Text.assemble((signs[name], style_of(name)), f" {printable(name)} {part / total:.0%}"))
    silent = length(prediction) - total
    if silent >= 0.05:
        entries.append(Text(f"{NOBODY} {clock(silent)}", style="dim"))
    lines = [Text("of the time spoken:", style="dim") if entries and total else Text()]
    for entry in entries:
        if lines[-1] and len(lines[-1]) + 2 + len(entry) > room:
            lines.append(Text())
        lines[-1].append("  " if lines[-1] else "").append_text(entry)
    return lines


def _list(spans: Sequence[Span], width: int, marks: Glyphs) -> list[Text]:
    """The first spans in which somebody speaks, a line each, and how many more there are."""
    spoken = [span for span in spans if called(span) is not None]
    shown = spoken[:_LISTED]
    dash, dots, left, right = ("–", "…", "“", "”") if marks.eighths[-1] != "#" else ("-", "...", '"', '"')
    times = [f"{clock(span.start)}{dash}{clock(span.end)}" for span in shown]
    column = max(map(len, times), default=0)
    lines = []
    for time, span in zip(times, shown, strict=True):
        sure = "" if span.emotion is None else f"{span.confidence:.0%}"
        name = f"{_cut(printable(called(span) or ''), _NAME, dots):<{_NAME}}"
        line = Text.assemble(f"  {time:<{column}}  ", (name, style_of(span.emotion)), f" {sure:>4}")
        words = printable(" ".join(span.words))
        room = width - cell_len(line.plain) - 4
        if words and (cell_len(words) <= room or room >= 20):
            line.append(f"  {left}{_cut(words, room, dots)}{right}")
            lines.append(line)
        else:
            lines.append(line)
            lines += [Text(f"    {left}{_cut(words, width - 6, dots)}{right}")] if words else []
    if len(spoken) > len(shown):
        rest = f"{dots} and {len(spoken) - len(shown)} more; write them with --timeline out.csv"
        lines += [Text(f"  {line}", style="dim") for line in wrap(rest, width - 2, break_on_hyphens=False)]
    return lines


def _cut(text: str, room: int, dots: str) -> str:
    """As much of `text` as fits `room` columns; wide letters take two."""
    if cell_len(text) <= room:
        return text
    return set_cell_size(text, max(room - len(dots), 0)).rstrip() + dots


def _encodable(line: Text, encoding: str) -> Text:
    """A line in which what the console cannot show is a question mark; styles stay where they are."""
    plain = "".join(c.encode(encoding, "replace").decode(encoding) for c in line.plain)
    return Text(plain, style=line.style, spans=line.spans)
