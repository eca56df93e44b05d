"""Times for text that has none: words spread over the stretches where somebody speaks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from affetto.records import Word


def spread_words(text: str, speech: float | Sequence[tuple[float, float]]) -> tuple[Word, ...]:
    """The words of `text` in order over `speech`, each as long as its share of the characters.

    `speech` is where somebody speaks, (start, end) in seconds and in order, or one number: the length of a
    recording that is all speech. No word reaches into the silence between two stretches: one that would is
    put into the stretch that has more of it. All words are marked `estimated`.
    """
    stretches = [(0.0, speech)] if isinstance(speech, (int, float)) else speech
    spans = [(start, end) for start, end in stretches if end > start]
    words = text.split()
    if not spans or not words:
        return ()
    # On an axis that has the speech only, the k-th stretch begins at starts[k].
    starts = [0.0, *accumulate(end - start for start, end in spans)]
    edges = [0.0, *accumulate(_weight(word) for word in words)]
    scale = starts[-1] / edges[-1]
    return tuple(
        _place(word, start * scale, end * scale, spans, starts)
        for word, (start, end) in zip(words, pairwise(edges), strict=True)
    )


def timed_words(text: str, start: float, end: float, *, estimated: bool = False) -> tuple[Word, ...]:
    """The words of a text that was said from `start` to `end`: one word has these times, several are spread
    over them and marked `estimated`."""
    words = text.split()
    if len(words) == 1:
        return (Word(words[0], start, end, estimated),)
    if end > start:
        return spread_words(text, [(start, end)])
    return tuple(Word(word, start, end, estimated=True) for word in words)


def _weight(word: str) -> int:
    """Letters and digits take time, punctuation does not; but every word takes some."""
    return max(sum(letter.isalnum() for letter in word), 1)


def _place(
    word: str, start: float, end: float, spans: Sequence[tuple[float, float]], starts: Sequence[float]
) -> Word:
    last = len(spans) - 1
    first, final = (min(max(bisect_right(starts, at) - 1, 0), last) for at in (start, end))
    shares = [min(end, starts[k + 1]) - max(start, starts[k]) for k in range(first, final + 1)]
    chosen = first + shares.index(max(shares))
    offset, until = spans[chosen][0] - starts[chosen], spans[chosen][1]
    begin = min(max(start, starts[chosen]) + offset, until)
    return Word(word, begin, min(max(min(end, starts[chosen + 1]) + offset, begin), until), estimated=True)
