"""PocketSphinx for real: words are found where eSpeak says that it said them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from affetto.align.activity import speech_probability, speech_spans
from affetto.align.sphinx import ForcedAligner, SphinxRecogniser
from affetto.align.transcribe import load_recogniser
from affetto.errors import ConfigError

pytest.importorskip("pocketsphinx")

SENTENCES = (
    "I never said that you could take my money",
    "the quick brown fox jumps over the lazy dog",
    "please call me when you have found the zorblatt",
)


@pytest.fixture(scope="module")
def aligner() -> ForcedAligner:
    return ForcedAligner()


def test_words_are_found_where_they_are(aligner: ForcedAligner, say: Callable) -> None:
    errors = []
    for text in SENTENCES:
        spoken = say(text)
        words = aligner.align(spoken.waveform, text)
        assert [word.text for word in words] == text.split()
        assert not any(word.estimated for word in words)
        errors.extend(abs(w.start - true) for w, true in zip(words, spoken.starts, strict=True))
    assert np.median(errors) <= 0.03
    assert np.max(errors) <= 0.15


def test_words_keep_their_spelling(aligner: ForcedAligner, say: Callable) -> None:
    spoken = say("well known at forty two")
    words = aligner.align(spoken.waveform, "\u201cWell-known\u201d \u2014 at 42!")
    assert [word.text for word in words] == ["\u201cWell-known\u201d", "\u2014", "at", "42!"]
    assert [word.estimated for word in words] == [False, True, False, False]
    assert words[1].start == words[1].end == words[0].end
    assert words[3].start == pytest.approx(spoken.starts[3], abs=0.1)
    assert words[3].end > spoken.starts[4]


def test_times_do_not_leave_the_recording(aligner: ForcedAligner, say: Callable) -> None:
    cut = say(SENTENCES[0]).waveform[:25_001]
    words = aligner.align(cut, "I never said that you could")
    assert all(0 <= word.start <= word.end <= len(cut) / 16_000 for word in words)


@pytest.mark.parametrize("text", ["Привет мир", "hello мир", "— !"])
def test_what_cannot_be_said_is_spread_over_the_speech(
    aligner: ForcedAligner, say: Callable, text: str
) -> None:
    waveform = say(SENTENCES[0], silence=1.0).waveform
    words = aligner.align(waveform, text)
    assert [word.text for word in words] == text.split()
    assert all(word.estimated for word in words)
    ((start, end),) = speech_spans(speech_probability(waveform))
    assert words[0].start == start
    assert words[-1].end == pytest.approx(end)


def test_nothing_to_align(aligner: ForcedAligner) -> None:
    assert aligner.align(np.zeros(16_000, np.float32), "  ") == ()
    assert aligner.align(np.zeros(0, np.float32), "") == ()
    short = aligner.align(np.zeros(800, np.float32), "hi there")
    assert [word.estimated for word in short] == [True, True]
    assert short[-1].end == 0.05


def test_an_answer_does_not_depend_on_the_one_before(aligner: ForcedAligner, say: Callable) -> None:
    spoken = say(SENTENCES[1]).waveform
    first = aligner.align(spoken, SENTENCES[1])
    noise = np.random.default_rng(0).standard_normal(3200).astype(np.float32) * 0.01
    failed = aligner.align(noise, " ".join(SENTENCES))
    assert all(word.estimated for word in failed)
    assert aligner.align(spoken, SENTENCES[1]) == first


def test_free_decoding_hears_words_at_their_times(say: Callable) -> None:
    recogniser = load_recogniser("pocketsphinx")
    spoken = say("where is the money", silence=1.0)
    words = recogniser.transcribe(spoken.waveform, "en-US")
    assert words
    assert all(1.0 - 0.1 < w.start < w.end < len(spoken.waveform) / 16_000 - 0.8 for w in words)
    assert not any(set("<>[]()") & set(word.text) for word in words)
    assert recogniser.transcribe(np.zeros(16_000, np.float32)) == ()


def test_languages_and_models_that_it_does_not_have() -> None:
    with pytest.raises(ConfigError, match="English only"):
        SphinxRecogniser().transcribe(np.zeros(16_000, np.float32), "de")
    with pytest.raises(ConfigError, match="its own"):
        load_recogniser("pocketsphinx:large")
