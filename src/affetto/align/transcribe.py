"""Recognisers: samples in, words with times out. A Protocol of one method, and who is behind it by name.

`pocketsphinx` carries its English model in its package and needs no network ever, but hears poorly: it is there
to try the machinery, and to align a known text (`affetto.align.sphinx.ForcedAligner`), which it does well.
`faster-whisper` and `whisper` (transformers) need a model that is on this machine already: nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from affetto.align.activity import FRAME_RATE, speech_probability, speech_spans
from affetto.align.clock import RATE, to_samples, to_seconds
from affetto.align.spread import timed_words
from affetto.errors import ConfigError
from affetto.records import Word

RECOGNISERS: Mapping[str, str] = {
    "pocketsphinx": "affetto.align.sphinx:SphinxRecogniser",
    "faster-whisper": "affetto.align.faster_whisper:FasterWhisper",
    "whisper": "affetto.learn.transcribe:Whisper",
}

_LONGEST = 28.0  # seconds: Whisper hears 30 at once, and Sphinx slows down beyond
_AROUND = 0.15  # seconds of silence kept on either side of speech: recognisers like a running start


class Recogniser(Protocol):
    """Hears words."""

    def transcribe(self, waveform: NDArray[np.float32], language: str | None = None) -> tuple[Word, ...]:
        """The words of samples [N] at 16 kHz, in order, with times in seconds. `language` is ISO 639-1; None
        lets the recogniser tell it. Raises ConfigError `option_invalid` for a language it does not know."""
        ...


def load_recogniser(name: str) -> Recogniser:
    """The recogniser of a name like `pocketsphinx`, `faster-whisper:small` or `whisper:path/to/model`.

    Raises ConfigError `option_invalid` for an unknown name and a model that is not there, and `extra_missing`,
    with what to install, where its package is not.
    """
    kind, _, model = name.partition(":")
    if kind not in RECOGNISERS:
        nearest = get_close_matches(kind, RECOGNISERS, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(RECOGNISERS)}"
        raise ConfigError("option_invalid", f"unknown recogniser {kind!r}: {hint}")
    module, _, attribute = RECOGNISERS[kind].partition(":")
    make = getattr(import_module(module), attribute)
    return cast(Recogniser, make(model) if model else make())


def speech_pieces(waveform: NDArray[np.floating], longest: float = _LONGEST) -> list[tuple[int, int]]:
    """Where a recording is cut to be recognised, in samples: (start, end) of pieces that hold speech.

    A piece goes on over silences as long as it stays within `longest` seconds; speech without a pause is cut
    where it is least likely to be any. Silence, music and noise are in no piece, so that nobody has to
    imagine words for them.
    """
    probability = speech_probability(waveform)
    limit = to_samples(longest)
    around = to_samples(_AROUND)
    pieces: list[tuple[int, int]] = []
    for span in speech_spans(probability):
        start, end = max(to_samples(span[0]) - around, 0), min(to_samples(span[1]) + around, len(waveform))
        if pieces:
            start = max(start, pieces[-1][1])
            if end - pieces[-1][0] <= limit:
                start = pieces.pop()[0]
        while end - start > limit:
            cut = _quietest(probability, start + limit // 2, start + limit)
            pieces.append((start, cut))
            start = cut
        if end > start:
            pieces.append((start, end))
    return pieces


def placed(words: Iterable[tuple[str, float, float]], start: int, end: int) -> Iterator[Word]:
    """Words of a piece as words of the recording: texts and times in seconds from sample `start`, none of which
    may leave the piece. Texts without a letter or digit are no words."""
    first, last = to_seconds(start), to_seconds(end)
    for text, begin, stop in words:
        if any(letter.isalnum() for letter in text):
            begin = min(first + max(begin, 0.0), last)
            yield from timed_words(text, begin, min(max(first + stop, begin), last))


def _quietest(probability: NDArray[np.floating], start: int, end: int) -> int:
    """The sample between two others at which speech is least likely."""
    hop = RATE // FRAME_RATE
    return start + int(np.argmin(probability[start // hop : end // hop])) * hop
