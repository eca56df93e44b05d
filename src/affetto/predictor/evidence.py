"""What stands beside the speech: a text or words with times, a picture or faces with times.

A text without times belongs to the whole recording, and to each of its windows; a picture to everything that
is spoken. Words and faces that have times stand where they were said and seen. A recording that fits into one
window is heard with its whole text, which has the punctuation that single words lack.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

from affetto.align.clock import to_samples
from affetto.predictor.answers import LANGUAGE, VOTE
from affetto.predictor.parts import Parts
from affetto.records import Track, Word

#: Languages written in the Latin script, of those that corpora of emotional text exist in.
_LATIN = frozenset("cs da de en es fi fr hu id it nl no pl pt ro sv tr vi".split())

#: How sure the head must be that a text is in no language of the text part. On held-out subtitles of ten languages
#: it then lets 4 in 100 pass, and refuses 1 in 100 fragments of English ones where an even chance refused 5.
_SURE = 0.95
_PAUSE = 0.7  # seconds of silence that end a phrase
_STOPS = (".", "?", "!", "…", "。", "？", "！")
_REACH = 6.0  # seconds that a phrase is followed back before its window

T = TypeVar("T")


class Evidence:
    """Text and faces of one recording, and which of them belong to a stretch of it (in samples)."""

    def __init__(
        self, parts: Parts, *, text: str | None, language: str | None, picture: np.ndarray | None
    ) -> None:
        info = parts.bundle.info.parts
        self._parts = parts
        self._reads_text, self._sees = info.text is not None, info.vision is not None
        self._text = text if self._reads_text else None
        self._language = language
        self._picture = parts.vision(picture) if picture is not None and self._sees else None
        self._words: _Timed[Word] = _Timed()
        self._faces: _Timed[Track] = _Timed()
        self._last: tuple[object, Track, bool] | None = None
        #: Text in a language that the model does not read, which therefore did not count; {} if there was none.
        self.unread: dict[str, Track] = {}

    @property
    def words(self) -> tuple[Word, ...]:
        """All words that have come, by their times."""
        return tuple(self._words.items)

    @property
    def end(self) -> int:
        """The sample after the last word or face."""
        last_word = max((to_samples(word.end) for word in self._words.items), default=0)
        return max(last_word, *(place + 1 for place in self._faces.places[-1:]), 0)

    def add(self, words: Sequence[Word], faces: Sequence[tuple[float, np.ndarray]]) -> None:
        """Take words, and faces as (time, crop [3 S S]), that have been recognised and seen since."""
        for word in words:
            self._words.add(middle(word), word)
        if self._sees:
            for time, crop in faces:
                self._faces.add(to_samples(time), self._parts.vision(crop[None], time))

    def end_at(self, last: int) -> int:
        """Drop the words after the end of the recording; how many there were."""
        return self._words.drop_from(last)

    def forget(self, before: int) -> None:
        """Faces seen before this sample are not asked for again."""
        self._faces.drop(before)

    def whole(self) -> dict[str, Track]:
        """Text and vision of a recording that is answered in one piece."""
        words = self._words.items
        return self._tracks(self._text or _joined(words), words, self._seen(0, None) or self._picture)

    def window(self, first: int, last: int) -> dict[str, Track]:
        """Text and vision of one window of a longer recording.

        A text without times counts where no word with its time has come by the window's end: a word that
        comes later must not change what was answered.
        """
        words = self._words.between(first, last)
        text = _joined(words) if self._words.index(last) else self._text
        return self._tracks(text, words, self._seen(first, last) or self._picture)

    def step(self, step: tuple[int, int], window: tuple[int, int], spoken: bool) -> dict[str, Track]:
        """Text and vision of a step of the timeline.

        Words and faces count in their window, if something is said or seen in the step itself; a picture
        counts in steps that are spoken.
        """
        there = bool(spoken or self._words.between(*step) or self._faces.between(*step))
        words = self._phrase(*window) if there else []
        seen = self._seen(*window) if there else None
        if seen is None and spoken:
            seen = self._picture
        return self._tracks(_joined(words), words, seen)

    def said(self, hop: int) -> dict[int, tuple[str, ...]]:
        """Step to the words whose middle lies in it, for steps of `hop` samples."""
        found: dict[int, tuple[str, ...]] = {}
        for place, word in zip(self._words.places, self._words.items, strict=True):
            found[place // hop] = (*found.get(place // hop, ()), word.text)
        return found

    def said_between(self, first: int, last: int) -> tuple[str, ...]:
        """The words whose middle lies in a stretch."""
        return tuple(word.text for word in self._words.between(first, last))

    def _phrase(self, first: int, last: int) -> list[Word]:
        """The words of a window, and those before it that begin the phrase."""
        start, end = self._words.index(first), self._words.index(last)
        earliest, words = self._words.index(first - to_samples(_REACH)), self._words.items
        while earliest < start < end:
            before, after = words[start - 1], words[start]
            if before.text.endswith(_STOPS) or after.start - before.end > _PAUSE:
                break
            start -= 1
        return words[start:end]

    def _seen(self, first: int, last: int | None) -> Track | None:
        faces = self._faces.between(first, last)
        if not faces:
            return None
        columns = ([getattr(face, name) for face in faces] for name in ("values", "mask", "times"))
        return Track(*(np.concatenate(column, axis=1) for column in columns))

    def _tracks(self, text: str | None, words: Sequence[Word], vision: Track | None) -> dict[str, Track]:
        read = self._read(text, words) if text and self._reads_text else None
        return {name: track for name, track in (("text", read), ("vision", vision)) if track is not None}

    def _read(self, text: str, words: Sequence[Word]) -> Track | None:
        """The Track of a text; None in a language that the model does not read."""
        key = (text, *words[:1])  # one step after the other asks for the same words
        if self._last is None or self._last[0] != key:
            track = self._parts.text(text, words)
            self._last = (key, track, reads_language(self._parts, text, track, self._language))
        _, track, readable = self._last
        if not readable:
            self.unread = {"text": track}
        return track if readable else None


def _joined(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


def middle(word: Word) -> int:
    """The sample in the middle of a word: where it stands on the clock."""
    return (to_samples(word.start) + to_samples(word.end)) // 2


def reads_language(parts: Parts, text: str, track: Track, language: str | None) -> bool:
    """Whether a text is in a language of the text part: as said, else as the model's own head tells.

    A head that has met one script only cannot place another, so the script is looked at first. A text is
    refused only by a head that is sure: of a few words none can tell much, and most texts are in a language
    that was asked for.
    """
    from affetto.features.text import mostly_latin

    info = parts.bundle.info
    known = info.parts.text.languages if info.parts.text else ()
    if language is not None:
        return language.replace("_", "-").split("-")[0].strip().lower() in known
    task = info.task(LANGUAGE)
    if task is None:
        return True
    if set(known) <= _LATIN and not mostly_latin(text):
        return False
    logits = parts.fuse({"text": track})[f"{LANGUAGE}.{VOTE}"].ravel().astype(np.float64)
    shares = np.exp(logits - logits.max())
    foreign = sum(share for label, share in zip(task.labels, shares, strict=True) if label not in known)
    return bool(foreign < _SURE * shares.sum())


class _Timed(Generic[T]):
    """Items by their place on the clock."""

    def __init__(self) -> None:
        self.places: list[int] = []
        self.items: list[T] = []

    def add(self, place: int, item: T) -> None:
        at = bisect_right(self.places, place)
        self.places.insert(at, place)
        self.items.insert(at, item)

    def index(self, place: int) -> int:
        return bisect_left(self.places, place)

    def between(self, first: int, last: int | None) -> list[T]:
        return self.items[self.index(first) : None if last is None else self.index(last)]

    def drop_from(self, place: int) -> int:
        count = len(self.places) - self.index(place)
        del self.places[self.index(place) :], self.items[len(self.items) - count :]
        return count

    def drop(self, before: int) -> None:
        count = self.index(before)
        del self.places[:count], self.items[:count]
