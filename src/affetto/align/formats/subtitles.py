"""Subtitles: SubRip (.srt) and WebVTT (.vtt, W3C 2019).

```
1                                      WEBVTT
00:00:01,000 --> 00:00:02,500
I never said that.                     00:00:01.000 --> 00:00:02.500
                                       I <00:00:01.200>never <00:00:01.600>said <00:00:02.000>that.
```

WebVTT may time each word by a tag before it; SubRip files made from such WebVTT keep the tags, so both are
read alike. A cue of several words without tags is spread over its time by characters, and its words are
marked `estimated`; a cue of one word times that word.

Captions that roll up (as YouTube's automatic ones do) show each line twice, the second time above the next:
in a file with word times, a line that the cue before ended with is not said again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape, unescape
from itertools import pairwise

from affetto.align.formats import Format, Problem, Words
from affetto.align.formats.times import fault, format_clock, parse_clock, to_milliseconds
from affetto.align.spread import timed_words
from affetto.records import Word

_Line = tuple[int, str]  # its number, and what it says

_ARROW = "-->"
_TIME_TAG = re.compile(r"<((?:\d+:)?\d{1,2}:\d{1,2}[.,]\d{1,6})>", re.ASCII)
_VTT_TAG = re.compile(r"</?[A-Za-z][^<>]*>|</>")
# Only tags that players know: "<3" and "<laughs>" are text.
_SRT_TAG = re.compile(r"(?i)</?(?:b|c|font|i|rt|ruby|s|u|v)(?:[\s.=][^<>]*)?>|\{\\[^{}]*\}")
_DASH = re.compile(r"^\s*[-\u2013\u2014]\s+(?=\S)")  # "- Who is it?": another speaker, not a word
_VTT_BLOCK = re.compile(r"(?:NOTE|STYLE|REGION)(?:[ \t]|$)")
_ROLLING_GAP = 0.05  # seconds between a cue and the one that repeats its line
_LONGEST_CUE = 10  # words that a written cue holds at most


@dataclass(frozen=True, slots=True)
class _Cue:
    line: int
    start: float
    end: float
    text: list[_Line]


def _read_srt(text: str) -> Words:
    return _read(list(enumerate(text.split("\n"), start=1)), vtt=False)


def _read_vtt(text: str) -> Words:
    lines = list(enumerate(text.split("\n"), start=1))
    if not re.match(r"WEBVTT(?:[ \t]|$)", lines[0][1]):
        found = _read(lines, vtt=True)
        missing = Problem(1, "the first line of a WebVTT file is WEBVTT: read as if it were there")
        return Words(found.words, (missing, *found.problems))
    # The header may go on for some lines; what comes before the first empty line is no cue, unless the
    # empty line was forgotten.
    body = 1
    while body < len(lines) and lines[body][1] and _ARROW not in lines[body][1]:
        body += 1
    return _read(lines[body:], vtt=True)


def _read(lines: Sequence[_Line], *, vtt: bool) -> Words:
    words: list[Word] = []
    problems: list[Problem] = []
    rolling = any(_TIME_TAG.search(line) for _, line in lines)
    before: _Cue | None = None
    for cue in _cues(lines, vtt):
        if isinstance(cue, Problem):
            problems.append(cue)
            continue
        said = cue.text
        if rolling and before is not None and abs(cue.start - before.end) <= _ROLLING_GAP:
            shown = {_plain(line, vtt) for _, line in before.text}
            said = [(n, line) for n, line in said if _TIME_TAG.search(line) or _plain(line, vtt) not in shown]
        words.extend(_cue_words(_Cue(cue.line, cue.start, cue.end, said), vtt, problems))
        before = cue
    return Words(tuple(words), tuple(sorted(problems, key=lambda problem: problem.line)))


def _cues(lines: Sequence[_Line], vtt: bool) -> Iterator[_Cue | Problem]:
    for block in _blocks(lines):
        if vtt and _VTT_BLOCK.match(block[0][1]):
            continue
        timings = [place for place, (_, line) in enumerate(block) if _ARROW in line]
        outside = max(timings[0] - 1, 0) if timings else len(block)
        for number, line in block[:outside]:
            if line.strip():
                yield Problem(
                    number, f"{_shown(line)} stands outside any cue: expected 00:00:01.000 --> 00:00:02.500"
                )
        for place, following in pairwise([*timings, len(block)]):
            number, line = block[place]
            text = block[place + 1 : following]
            # Where the empty line between two cues was forgotten, the next one's number is no text.
            if following < len(block) and text and text[-1][1].strip().isdecimal():
                text = text[:-1]
            yield _cue(number, line, text)


def _blocks(lines: Sequence[_Line]) -> Iterator[list[_Line]]:
    block: list[_Line] = []
    for number, line in lines:
        if line:
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _cue(number: int, line: str, text: list[_Line]) -> _Cue | Problem:
    left, _, right = line.partition(_ARROW)
    start, end = parse_clock(left), parse_clock((right.split() or [""])[0])  # settings follow the end
    if start is None or end is None:
        return Problem(number, f"{_shown(line)} is no timing: expected 00:00:01.000 --> 00:00:02.500")
    wrong = fault(start, end)
    return Problem(number, f"the cue {wrong}") if wrong else _Cue(number, start, end, text)


def _cue_words(cue: _Cue, vtt: bool, problems: list[Problem]) -> Iterator[Word]:
    """Each stretch between two time tags has its words; without tags the cue is the stretch."""
    stretches: list[tuple[float, str]] = [(cue.start, "")]
    for number, line in cue.text:
        pieces = _TIME_TAG.split(_DASH.sub("", line))
        stretches[-1] = stretches[-1][0], f"{stretches[-1][1]} {pieces[0]}"
        for tag, text in zip(pieces[1::2], pieces[2::2], strict=True):
            at = parse_clock(tag)
            if at is None or not stretches[-1][0] <= at <= cue.end:
                problems.append(Problem(number, f"the word time {tag} is not in order within its cue"))
                stretches[-1] = stretches[-1][0], stretches[-1][1] + text
            else:
                stretches.append((at, text))
    for (start, text), (end, _) in pairwise([*stretches, (cue.end, "")]):
        yield from timed_words(_plain(text, vtt), start, end)


def _plain(text: str, vtt: bool) -> str:
    """Text without tags and, in WebVTT, with its entities written out."""
    text = _TIME_TAG.sub("", text)
    return unescape(_VTT_TAG.sub("", text)).strip() if vtt else _SRT_TAG.sub("", text).strip()


def _shown(line: str) -> str:
    return repr(line if len(line) <= 40 else line[:39] + "…")


# --- writing ------------------------------------------------------------------------------------------------


def _write_srt(words: Sequence[Word]) -> str:
    """A cue for each word: SubRip has no times within a cue."""
    cues = []
    for number, word in enumerate(words, start=1):
        timing = f"{format_clock(word.start, ',')} {_ARROW} {format_clock(word.end, ',')}"
        cues.append(f"{number}\n{timing}\n{word.text.replace(_ARROW, '->')}\n")
    return "\n".join(cues)


def _write_vtt(words: Sequence[Word]) -> str:
    """Words that follow each other without a gap share a cue, each with its time."""
    cues = ["WEBVTT\n"]
    for phrase in _phrases(words):
        timing = f"{format_clock(phrase[0].start)} {_ARROW} {format_clock(phrase[-1].end)}"
        first, *others = (escape(word.text, quote=False) for word in phrase)
        timed = [f"<{format_clock(w.start)}>{text}" for w, text in zip(phrase[1:], others, strict=True)]
        cues.append(f"{timing}\n{' '.join([first, *timed])}\n")
    return "\n".join(cues)


def _phrases(words: Sequence[Word]) -> Iterator[list[Word]]:
    phrase: list[Word] = []
    for word in words:
        follows = bool(phrase) and to_milliseconds(phrase[-1].end) == to_milliseconds(word.start)
        if phrase and (not follows or len(phrase) == _LONGEST_CUE):
            yield phrase
            phrase = []
        phrase.append(word)
    if phrase:
        yield phrase


SRT = Format(_read_srt, _write_srt)
VTT = Format(_read_vtt, _write_vtt)
