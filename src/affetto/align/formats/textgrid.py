"""Praat's TextGrid (Boersma & Weenink), long and short, read alike: Praat reads numbers and quoted texts and
takes all else for decoration.

```
long                          short
item [1]:
    class = "IntervalTier"    "IntervalTier"
    name = "words"            "words"
    xmin = 0                  0
    xmax = 2.5                2.5
    intervals: size = 2       2
    intervals [1]:
        xmin = 0              0
        xmax = 1.0            1.0
        text = "never"        "never"
```

The words are those of the tier `words` or `word`; else of all tiers so named for each speaker ("Anna - words",
as the Montreal Forced Aligner writes them); else of the first tier of intervals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from affetto.align.formats import Format, Problem, Words, WrongFormat
from affetto.align.formats.times import fault
from affetto.records import Word

# Silence and pauses of the Montreal, Praat, HTK and WebMAUS aligners; "spn" is a noise of the speaker.
_SILENCE = frozenset(("", "sil", "sp", "spn", "<sil>", "<eps>", "<p:>"))
_INTERVALS, _POINTS = "IntervalTier", "TextTier"
_TOKEN = re.compile(r'"(?P<text>(?:[^"]|"")*)"|(?P<junk>[^\s"]+)|(?P<open>")')
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Token:
    """A quoted text or a number, and the line it stands on."""

    line: int
    value: str | float


@dataclass(slots=True)
class _Tier:
    kind: str
    name: str
    words: list[Word] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def _read(text: str) -> Words:
    tokens = list(_tokens(text))
    texts = [token.value for token in tokens if isinstance(token.value, str)]
    if "TextGrid" not in texts[:2]:
        raise WrongFormat('no "TextGrid" at its start')
    tiers = [_tier(kind, name, body) for kind, name, body in _split(tokens)]
    chosen = _chosen([tier for tier in tiers if tier.kind == _INTERVALS])
    if not chosen:
        return Words((), (Problem(1, "no tier of intervals: expected one named words"),))
    words = [word for tier in chosen for word in tier.words]
    problems = [problem for tier in chosen for problem in tier.problems]
    return Words(tuple(words), tuple(sorted(problems, key=lambda problem: problem.line)))


def _tokens(text: str) -> Iterator[_Token]:
    line, last = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", last, match.start())
        last = match.start()
        if match["text"] is not None:
            yield _Token(line, match["text"].replace('""', '"'))
        elif match["junk"] is not None and _NUMBER.fullmatch(match["junk"]):
            yield _Token(line, float(match["junk"]))


def _split(tokens: Sequence[_Token]) -> Iterator[tuple[str, str, Sequence[_Token]]]:
    """(class, name, what follows) of each tier. A tier starts where its class and its name stand together."""
    starts = [
        place
        for place in range(len(tokens) - 1)
        if tokens[place].value in (_INTERVALS, _POINTS) and isinstance(tokens[place + 1].value, str)
    ]
    for start, end in pairwise([*starts, len(tokens)]):
        yield str(tokens[start].value), str(tokens[start + 1].value), tokens[start + 2 : end]


def _tier(kind: str, name: str, tokens: Sequence[_Token]) -> _Tier:
    """Read start, end and text over and over: a text ends an interval, whatever else is missing in it."""
    tier = _Tier(kind, name)
    numbers: list[float] = []
    header = 3  # start, end and size of the tier itself
    for token in tokens:
        if isinstance(token.value, float):
            if header:
                header -= 1
            else:
                numbers.append(token.value)
            continue
        header = 0
        _add(tier, token.line, numbers, token.value)
        numbers = []
    if numbers:
        tier.problems.append(Problem(tokens[-1].line, "the last interval has no text: the file was cut"))
    return tier


def _add(tier: _Tier, line: int, numbers: list[float], text: str) -> None:
    wrong = fault(*numbers) if len(numbers) == 2 else f"{len(numbers)} times: expected start and end"
    if wrong:
        tier.problems.append(Problem(line, f"the interval {text!r}: {wrong}"))
    elif text.strip().lower() not in _SILENCE:
        start, end = numbers
        tier.words.append(Word(text.strip(), start, end))


def _chosen(tiers: Sequence[_Tier]) -> Sequence[_Tier]:
    named = [tier for tier in tiers if tier.name.strip().lower() in ("words", "word")]
    of_speakers = [tier for tier in tiers if re.search(r"(?i)\bwords?$|^words?\b", tier.name.strip())]
    return named[:1] or of_speakers or tiers[:1]


# --- writing ------------------------------------------------------------------------------------------------


def _write_long(words: Sequence[Word]) -> str:
    tiers = _tiers(words)
    end = _end(words)
    rows = [
        'File type = "ooTextFile"\nObject class = "TextGrid"\n',
        f"xmin = 0\nxmax = {end!r}\ntiers? <exists>\nsize = {len(tiers)}\nitem []:",
    ]
    for number, (name, tier) in enumerate(tiers.items(), start=1):
        intervals = _intervals(tier, end)
        rows.append(f"    item [{number}]:\n" + f'        class = "{_INTERVALS}"\n        name = "{name}"')
        rows.append(f"        xmin = 0\n        xmax = {end!r}\n        intervals: size = {len(intervals)}")
        for place, (start, stop, text) in enumerate(intervals, start=1):
            rows.append(f"        intervals [{place}]:\n            xmin = {start!r}")
            rows.append(f"            xmax = {stop!r}\n            text = {_quoted(text)}")
    return "\n".join(rows) + "\n"


def _write_short(words: Sequence[Word]) -> str:
    tiers = _tiers(words)
    end = _end(words)
    rows = ['File type = "ooTextFile"\nObject class = "TextGrid"\n', f"0\n{end!r}\n<exists>\n{len(tiers)}"]
    for name, tier in tiers.items():
        intervals = _intervals(tier, end)
        rows.append(f'"{_INTERVALS}"\n"{name}"\n0\n{end!r}\n{len(intervals)}')
        rows.extend(f"{start!r}\n{stop!r}\n{_quoted(text)}" for start, stop, text in intervals)
    return "\n".join(rows) + "\n"


def _tiers(words: Sequence[Word]) -> dict[str, list[Word]]:
    """One tier, `words`; or, since intervals cannot overlap, `1 - words`, `2 - words` and so on."""
    tiers: list[list[Word]] = []
    for word in sorted(words, key=lambda word: (word.start, word.end)):
        free = next((tier for tier in tiers if _stop(tier[-1]) <= word.start), None)
        if free is None:
            tiers.append([word])
        else:
            free.append(word)
    if len(tiers) < 2:
        return {"words": tiers[0] if tiers else []}
    return {f"{number} - words": tier for number, tier in enumerate(tiers, start=1)}


def _intervals(words: Sequence[Word], end: float) -> list[tuple[float, float, str]]:
    """The words and the silences between them: the intervals of a tier cover it without gaps."""
    intervals: list[tuple[float, float, str]] = []
    at = 0.0
    for word in words:
        if word.start > at:
            intervals.append((at, word.start, ""))
        at = _stop(word)
        intervals.append((word.start, at, word.text))
    return [*intervals, (at, end, "")] if at < end else intervals


def _end(words: Sequence[Word]) -> float:
    return max((_stop(word) for word in words), default=1.0)


def _stop(word: Word) -> float:
    """No interval is empty: a word of no length gets a millisecond."""
    return word.end if word.end > word.start else word.start + 0.001


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


LONG = Format(_read, _write_long)
SHORT = Format(_read, _write_short)
