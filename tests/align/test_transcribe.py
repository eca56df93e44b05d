"""Recognisers by name, the pieces they are given, and faster-whisper behind a stand-in of its shape."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from affetto.align.transcribe import RECOGNISERS, load_recogniser, placed, speech_pieces
from affetto.errors import ConfigError
from affetto.records import Word

RATE = 16_000
SENTENCE = "I never said that you could take my money"


@pytest.fixture
def faster_whisper(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """A package with faster-whisper's `WhisperModel`: what it was called with."""
    calls: list[dict[str, object]] = []

    class WhisperModel:
        def __init__(self, model: str, **options: object) -> None:
            calls.append({"model": model, **options})
            if model == "absent":
                raise RuntimeError("cannot find\nthe snapshot")

        def transcribe(self, audio: np.ndarray, language: str | None = None, **options: object) -> tuple:
            calls.append({"seconds": len(audio) / RATE, "language": language, **options})
            if language == "xx":
                raise ValueError("'xx' is not a valid language code")
            words = [
                SimpleNamespace(word=" Yes,", start=0.5, end=0.9, probability=0.9),
                SimpleNamespace(word=" ...", start=0.9, end=0.9, probability=0.1),
                SimpleNamespace(word=" no", start=0.9, end=99.0, probability=0.9),
            ]
            segments = [SimpleNamespace(words=words), SimpleNamespace(words=None)]
            return iter(segments), SimpleNamespace(language="en")

    module = ModuleType("faster_whisper")
    module.WhisperModel = WhisperModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    return calls


def test_faster_whisper(faster_whisper: list, say: Callable) -> None:
    spoken = say(SENTENCE, silence=2.0).waveform
    words = load_recogniser("faster-whisper:small").transcribe(spoken, "en")
    made, called = faster_whisper
    assert made == {"model": "small", "device": "cpu", "compute_type": "int8", "local_files_only": True}
    assert called["word_timestamps"] is True
    assert called["language"] == "en"
    assert called["seconds"] < len(spoken) / RATE - 3
    # Times are those of the recording, and no word is later than the piece that it was heard in.
    assert [word.text for word in words] == ["Yes,", "no"]
    assert words[0].start == pytest.approx(2.35, abs=0.1)
    assert words[1].end < len(spoken) / RATE - 1.5


def test_faster_whisper_is_not_asked_about_silence(faster_whisper: list) -> None:
    assert load_recogniser("faster-whisper").transcribe(np.zeros(RATE * 3, np.float32)) == ()
    assert faster_whisper == [{**faster_whisper[0], "model": "base"}]


def test_faults_of_faster_whisper(faster_whisper: list, say: Callable) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recogniser("faster-whisper:absent")
    assert caught.value.code == "option_invalid"
    assert "download_model('absent')" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="valid language"):
        load_recogniser("faster-whisper").transcribe(say(SENTENCE).waveform, "xx")


@pytest.mark.parametrize(
    ("name", "package", "remedy"),
    [
        ("faster-whisper", "faster_whisper", "pip install faster-whisper"),
        ("pocketsphinx", "pocketsphinx", 'pip install "affetto[transcribe]"'),
        ("whisper", "torch", 'pip install "affetto[train]"'),
    ],
)
def test_a_missing_package_is_named_with_its_remedy(
    name: str, package: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError) as caught:
        load_recogniser(name)
    assert caught.value.code == "extra_missing"
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_recognisers() -> None:
    with pytest.raises(ConfigError, match="did you mean 'whisper'"):
        load_recogniser("wisper:base")
    with pytest.raises(ConfigError, match=", ".join(RECOGNISERS)):
        load_recogniser("")


# --- pieces -----------------------------------------------------------------------------------------------


def test_pieces_hold_the_speech_and_leave_out_the_silence(say: Callable) -> None:
    spoken = say(SENTENCE, silence=2.0).waveform
    ((start, end),) = speech_pieces(spoken)
    assert 1.7 * RATE < start < 2.0 * RATE
    assert len(spoken) - 2.1 * RATE < end < len(spoken) - 1.6 * RATE


def test_pieces_join_up_to_their_longest(say: Callable) -> None:
    recording = np.concatenate([say(SENTENCE, silence=0.6).waveform] * 4)
    assert len(speech_pieces(recording, longest=60)) == 1
    short = speech_pieces(recording, longest=4)
    assert len(short) == 4
    assert all(0 <= a < b <= c < d <= len(recording) for (a, b), (c, d) in pairwise(short))


def test_speech_without_a_pause_is_cut(say: Callable) -> None:
    recording = say(" ".join([SENTENCE] * 4), silence=0.3).waveform
    pieces = speech_pieces(recording, longest=3)
    assert max(end - start for start, end in pieces) <= 3 * RATE
    assert all(b == c for (_, b), (c, _) in pairwise(pieces))
    assert speech_pieces(np.zeros(0, np.float32)) == []


def test_words_of_a_piece_stay_in_it() -> None:
    def heard() -> Iterator[tuple[str, float, float]]:
        yield " New York", -0.1, 0.4
        yield "!", 0.4, 0.5
        yield "now", 0.9, 0.5
        yield "late", 5.0, 6.0

    assert list(placed(heard(), 16_000, 32_000)) == [
        Word("New", 1.0, pytest.approx(1.0 + 0.4 * 3 / 7), estimated=True),
        Word("York", pytest.approx(1.0 + 0.4 * 3 / 7), 1.4, estimated=True),
        Word("now", 1.9, 1.9),
        Word("late", 2.0, 2.0),
    ]
