"""Silence around speech is cut off alike in training and in use: how a recording was cut tells nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affetto.bundle import Bundle
from affetto.learn.config import ModelConfig, SpeechConfig
from affetto.learn.training.media_cache import MediaCache, as_float
from affetto.predictor import Predictor
from affetto.predictor.parts import Parts
from affetto.records import Clip, Track, Word
from sounds import voice_like

RATE = 16000


@pytest.fixture
def trimming(variant: Callable[..., Bundle]) -> Predictor:
    """The plain bundle, which leaves 0.2 s around speech."""
    return Predictor(variant(parts={
        "speech": {"width": 8, "window_seconds": 12.0, "margin_seconds": 0.2},
        "text": {"width": 8, "max_tokens": 16, "languages": ["en"]},
        "vision": {"width": 8, "size": 32},
    }))  # fmt: skip


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The samples that the speech part is given."""
    given: list[np.ndarray] = []
    real = Parts.speech

    def speech(self: Parts, waveform: np.ndarray, start: float = 0.0) -> Track:
        given.append(waveform.copy())
        return real(self, waveform, start)

    monkeypatch.setattr(Parts, "speech", speech)
    return given


def recording(before: float, after: float) -> np.ndarray:
    return np.pad(voice_like(2.0), (int(before * RATE), int(after * RATE)))


def test_what_is_heard_does_not_depend_on_the_silence_around_it(
    trimming: Predictor, heard: list[np.ndarray]
) -> None:
    for before, after in ((0.5, 0.5), (1.0, 3.0), (4.0, 0.3)):
        trimming.predict(speech=recording(before, after))
    assert len(heard) == 3
    for samples in heard[1:]:
        assert len(samples) == pytest.approx(len(heard[0]), abs=0.03 * RATE)
    assert 2.1 * RATE < len(heard[0]) < 2.45 * RATE


def test_training_hears_what_use_hears(
    trimming: Predictor, heard: list[np.ndarray], wav: Callable[..., Path]
) -> None:
    path = str(wav(recording(1.0, 0.7)))
    trimming.predict(speech=path)
    cache = MediaCache(ModelConfig(speech=SpeechConfig(margin_seconds=0.2)))
    cache.add([Clip("a", speech=path)])
    kept = as_float(cache.speech(Clip("a", speech=path)))
    np.testing.assert_allclose(kept, heard[0], atol=2 / 32768)  # of the same length, kept in 16 bits


def test_words_move_with_what_is_cut_off(wav: Callable[..., Path]) -> None:
    from affetto.features.text import train_tokenizer
    from affetto.learn.config import TextConfig

    clip = Clip("a", speech=str(wav(recording(1.0, 0.5))), text="hello", words=(Word("hello", 1.5, 1.7),))
    times = {}
    for margin in (None, 0.2):
        config = ModelConfig(speech=SpeechConfig(margin_seconds=margin), text=TextConfig(max_tokens=8))
        cache = MediaCache(config, train_tokenizer(["hello hello"], 270))
        cache.add([clip])
        times[margin] = np.nanmax(cache.times(clip))
    assert times[None] == pytest.approx(1.6)
    assert times[None] - times[0.2] == pytest.approx(0.8, abs=0.1)
