"""Words to phrases: what is said in one breath with one emotion, short enough to be read at a glance.

```
words     I  said  no      never  again                 do you  hear
spans     [------ anger ------------][-- sadness --][------ sadness -----]
phrases   [I said no] [never again]                    [do you hear]
                     ^ a pause       ^ another span
```
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from affetto.records import Span, Word

# What people who make subtitles keep to: two lines of 42 characters, on screen for no longer than 7 s.
LINE = 42
_LONGEST = 7.0  # seconds
_PAUSE = 0.6  # seconds without a word that end a phrase
_LABEL = 14  # characters that the label before a phrase takes


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that belong together, in order; `span` is where they were said, None outside every span."""

    words: tuple[Word, ...]
    span: Span | None

    @property
    def start(self) -> float:
        return self.words[0].start

    @property
    def end(self) -> float:
        return max(word.end for word in self.words)

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


def phrases(words: Sequence[Word], spans: Sequence[Span]) -> Iterator[Phrase]:
    """The words in order of their starts, cut at pauses, at the edges of spans, and where a phrase gets long.

    A word belongs to the span that holds its middle. Words without a character are left out.
    """
    ordered = sorted(_clean(words), key=lambda word: (word.start, word.end))
    starts = [span.start for span in spans]
    pending: list[Word] = []
    span: Span | None = None
    for word in ordered:
        home = _home(word, spans, starts)
        if pending and (home is not span or _full(pending, word)):
            yield Phrase(tuple(pending), span)
            pending = []
        span = home
        pending.append(word)
    if pending:
        yield Phrase(tuple(pending), span)


def _clean(words: Sequence[Word]) -> Iterator[Word]:
    for word in words:
        text = " ".join(word.text.split())
        if text:
            yield word if text == word.text else Word(text, word.start, word.end, word.estimated)


def _home(word: Word, spans: Sequence[Span], starts: Sequence[float]) -> Span | None:
    middle = (word.start + word.end) / 2
    place = bisect_right(starts, middle) - 1
    return spans[place] if place >= 0 and middle <= spans[place].end else None


def _full(pending: Sequence[Word], word: Word) -> bool:
    """Whether `word` has to start a new phrase."""
    pause = word.start - max(before.end for before in pending)
    characters = sum(len(before.text) + 1 for before in pending) + len(word.text)
    ended = pending[-1].text.endswith((".", "?", "!")) and characters > LINE
    return (
        pause >= _PAUSE or ended or characters > 2 * LINE - _LABEL or word.end - pending[0].start > _LONGEST
    )
