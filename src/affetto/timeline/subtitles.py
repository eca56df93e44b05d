"""The timeline as subtitles: SubRip (.srt) and WebVTT (.vtt), what was said with the emotion before it.

```
1                                      WEBVTT
00:00:01,000 --> 00:00:02,500
[anger] I said no                      00:00:01.000 --> 00:00:02.500
                                       [anger] <00:00:01.001>I <00:00:01.200>said <00:00:02.000>no
```

A span in which somebody speaks, but of which no words are known, is a cue of the label alone; where nobody
speaks there is none. WebVTT times each word by a tag before it, and an empty tag where a pause begins, so that
a reader gets back every start and end. A tag may not stand at the very start of its cue (W3C 2019, 4.2.2),
hence the first word begins 1 ms late.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from affetto.align.formats.times import format_clock, to_milliseconds
from affetto.records import Prediction, Word
from affetto.timeline.phrases import LINE, phrases
from affetto.timeline.wording import called

_ARROW = "-->"


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from `start` to `end`; without a label where no span says what was felt."""

    start: float
    end: float
    label: str | None
    words: tuple[Word, ...] = ()


def cues(prediction: Prediction) -> list[Cue]:
    """The cues of a timeline in order: a phrase each, or a label where somebody speaks without known words."""
    found = []
    spoken = set()
    for phrase in phrases(prediction.words, prediction.spans):
        label = called(phrase.span) if phrase.span is not None else None
        end = max(phrase.end, phrase.start + 0.001)  # a cue that lasts no time is not valid
        found.append(Cue(phrase.start, end, label, phrase.words))
        if phrase.span is not None:
            spoken.add((phrase.span.start, phrase.span.end))
    for span in prediction.spans:
        name = called(span)
        if name is not None and (span.start, span.end) not in spoken:
            found.append(Cue(span.start, span.end, name))
    return sorted(found, key=lambda cue: (cue.start, cue.end))


def to_srt(prediction: Prediction) -> str:
    """SubRip: `[anger] I said no`, in lines of at most 42 characters where words allow."""
    blocks = []
    for number, cue in enumerate(cues(prediction), start=1):
        timing = f"{format_clock(cue.start, ',')} {_ARROW} {format_clock(cue.end, ',')}"
        text = " ".join([*_label(cue), *(word.text for word in cue.words)]).replace(_ARROW, "->")
        blocks.append(f"{number}\n{timing}\n{_lines(text)}\n")
    return "\n".join(blocks)


def to_vtt(prediction: Prediction) -> str:
    """WebVTT: as SubRip, and every word with its time."""
    blocks = ["WEBVTT\n"]
    for cue in cues(prediction):
        timing = f"{format_clock(cue.start)} {_ARROW} {format_clock(cue.end)}"
        blocks.append(f"{timing}\n{' '.join([*map(_escaped, _label(cue)), *_timed(cue)])}\n")
    return "\n".join(blocks)


def _label(cue: Cue) -> list[str]:
    return [f"[{cue.label}]"] if cue.label else []


def _lines(text: str) -> str:
    return "\n".join(textwrap.wrap(text, LINE, break_long_words=False, break_on_hyphens=False))


def _escaped(text: str) -> str:
    return escape(text, quote=False)


def _timed(cue: Cue) -> Iterator[str]:
    """The words, each with the tag of its start where it may have one: tags go up within a cue."""
    start, end = to_milliseconds(cue.start), to_milliseconds(cue.end)
    last = start
    pause = ""  # the tag at which the word before ended
    for place, word in enumerate(cue.words):
        begins, ends = to_milliseconds(word.start), to_milliseconds(word.end)
        if place == 0 and cue.label:
            begins = start + 1
        tag = ""
        if last < begins < end:
            tag, last = pause + _tag(begins), begins
        yield tag + _escaped(word.text)
        following = cue.words[place + 1 : place + 2]
        pause = _tag(ends) if following and last < ends < to_milliseconds(following[0].start) else ""


def _tag(milliseconds: int) -> str:
    return f"<{format_clock(milliseconds / 1000)}>"
