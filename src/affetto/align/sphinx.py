"""CMU PocketSphinx: its English model comes in its package, so this works without a network.

Free decoding is poor (half of the words of spontaneous speech are wrong) and there to try the machinery.
Alignment of a known text is good: on the 120 sentences of GRID that the project measures, half of the words
start within 20 ms of where they were marked (`benchmarks/alignment.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affetto.align.activity import speech_probability, speech_spans
from affetto.align.clock import to_seconds
from affetto.align.formats.rows import sphinx_word
from affetto.align.pronounce import guess_phones, spoken
from affetto.align.spread import spread_words
from affetto.align.transcribe import placed, speech_pieces
from affetto.errors import ConfigError
from affetto.records import Word

_FRAME_RATE = 100  # frames per second
# Wider than the defaults for decoding, all three alike: with those, the only path that fits a known text is
# given up where a word is said unusually.
_WIDE = 1e-100
_SHORTEST = 0.1  # seconds that can be aligned


_Heard = tuple[str, float, float]  # an entry of the dictionary, start and end in seconds


class SphinxRecogniser:
    """Free decoding of English."""

    def __init__(self, model: str | None = None) -> None:
        if model:
            raise ConfigError(
                "option_invalid", f"pocketsphinx has no model {model!r}: leave it out, it has its own"
            )
        self._decoder: Any = _pocketsphinx().Decoder(loglevel="FATAL")
        self._lock = threading.Lock()

    def transcribe(self, waveform: NDArray[np.float32], language: str | None = None) -> tuple[Word, ...]:
        """As `Recogniser.transcribe`; the only language is English."""
        _check_english(language)
        words: list[Word] = []
        with self._lock:
            for start, end in speech_pieces(waveform):
                found = _decode(self._decoder, waveform[start:end])
                words.extend(
                    placed(((w, a, b) for entry, a, b in found if (w := sphinx_word(entry))), start, end)
                )
        return tuple(words)


class ForcedAligner:
    """Finds the times of a text that is known to be said.

    It does not notice a wrong text: that is put somewhere, too. English by its model; in other languages of
    Latin script words are said as English spelling would, which finds their order and rough times.
    """

    def __init__(self) -> None:
        self._decoder: Any = _pocketsphinx().Decoder(
            loglevel="FATAL", lm=None, bestpath=False, beam=_WIDE, pbeam=_WIDE, wbeam=_WIDE
        )
        self._lock = threading.Lock()

    def align(self, waveform: NDArray[np.float32], text: str) -> tuple[Word, ...]:
        """Each word of `text` (split at spaces) with its time in samples [N] at 16 kHz.

        Where that fails (too short a recording, a script that is not Latin, no path) the words are spread over
        the speech, or over everything where there is none, and marked `estimated`.
        """
        tokens = text.split()
        parts = [spoken(token) for token in tokens]
        entries = [entry for part in parts for entry in part]
        duration = to_seconds(len(waveform))
        found: Sequence[_Heard] | None = None
        if entries and duration >= _SHORTEST:
            with self._lock:
                found = self._align(waveform, entries)
        if found is None:
            return spread_words(text, speech_spans(speech_probability(waveform)) or duration)
        return tuple(_gathered(tokens, parts, found, duration))

    def _align(self, waveform: NDArray[np.float32], words: Sequence[str]) -> Sequence[_Heard] | None:
        entries = [self._entry(word) for word in words]
        if None in entries:
            return None
        try:
            self._decoder.set_align_text(" ".join(str(entry) for entry in entries))
            heard = _decode(self._decoder, waveform)
        except RuntimeError:
            return None
        said = [(word, start, end) for entry, start, end in heard if (word := sphinx_word(entry)) is not None]
        return said if [word for word, _, _ in said] == entries else None

    def _entry(self, word: str) -> str | None:
        """The word as the dictionary has it; one that it has not is added. None where nobody can say it."""
        for known in (word, word.strip("'")):
            if self._decoder.lookup_word(known):
                return known
        phones = guess_phones(word)
        if not phones:
            return None
        self._decoder.add_word(word, phones, True)
        return word


def _gathered(
    tokens: Sequence[str], parts: Sequence[Sequence[str]], heard: Sequence[_Heard], duration: float
) -> Iterator[Word]:
    """Each token from its first word to its last; punctuation stands, without length, where it is written."""
    place, at = 0, 0.0
    for token, part in zip(tokens, parts, strict=True):
        if not part:
            yield Word(token, at, at, estimated=True)
            continue
        start, end = heard[place][1], heard[place + len(part) - 1][2]
        place += len(part)
        at = min(end, duration)
        yield Word(token, min(start, at), at)


def _decode(decoder: Any, waveform: NDArray[np.floating]) -> list[_Heard]:
    samples = (np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes()
    # Else the means of the features go on from the recording before, and the answer depends on it.
    decoder.reinit_feat()
    decoder.start_utt()
    try:
        decoder.process_raw(samples, full_utt=True)
    finally:
        decoder.end_utt()
    # The last frame of a segment is part of it; without any hypothesis there is no list.
    return [
        (segment.word, segment.start_frame / _FRAME_RATE, (segment.end_frame + 1) / _FRAME_RATE)
        for segment in decoder.seg() or ()
    ]


def _check_english(language: str | None) -> None:
    if language is not None and language.lower().replace("_", "-").split("-")[0] != "en":
        raise ConfigError(
            "option_invalid",
            f"pocketsphinx knows English only, not {language!r}: use faster-whisper or whisper",
        )


def _pocketsphinx() -> ModuleType:
    try:
        import pocketsphinx
    except ImportError:
        raise ConfigError(
            "extra_missing", 'pocketsphinx is not installed: pip install "affetto[transcribe]"'
        ) from None
    return pocketsphinx
