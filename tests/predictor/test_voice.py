"""What the speech part does not hear as a voice is no speech, whatever the detector took it for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from affetto.bundle import Bundle, Voice
from affetto.errors import BundleError
from affetto.predictor import Predictor, frame_statistics
from affetto.predictor.voice import is_voice
from sounds import voice_like

WIDTH = 8
#: Of the plain bundle, whose first value is 20 times the mean sample: what lies above 0.05 is no voice.
LOW = {"weights": [-1.0, *[0.0] * (2 * WIDTH - 1)], "bias": 1.0}


def sound(offset: float, seconds: float = 1.5) -> np.ndarray:
    samples = voice_like(seconds)
    return (samples - samples.mean() + offset).astype(np.float32)


@pytest.fixture
def model(variant: Callable[..., Bundle], plain_bundle: Bundle) -> Predictor:
    return Predictor(variant(parts=with_voice(plain_bundle, LOW)))


def with_voice(bundle: Bundle, voice: object) -> dict[str, object]:
    parts = bundle.info.parts.model_dump()
    return {**parts, "speech": {**parts["speech"], "voice": voice}}


def test_statistics_are_the_mean_and_the_deviation_of_each_value() -> None:
    frames = np.random.default_rng(0).normal(size=(7, 3))
    found = frame_statistics(frames)
    assert found == pytest.approx(
        [*(frames.sum(0) / 7), *np.sqrt(((frames - frames.mean(0)) ** 2).sum(0) / 7)]
    )
    score, weights = found[0] - 2 * found[5], (1, 0, 0, 0, 0, -2)
    assert is_voice(Voice(weights=weights, bias=1e-6 - score), frames)
    assert not is_voice(Voice(weights=weights, bias=-1e-6 - score), frames)


def test_what_is_no_voice_is_not_answered(model: Predictor, plain_bundle: Bundle) -> None:
    assert Predictor(plain_bundle).predict(speech=sound(0.1)).emotion == "anger"
    assert model.predict(speech=sound(-0.1)).emotion == "happiness"
    answer = model.predict(speech=sound(0.1))
    assert (answer.emotion, answer.abstained, answer.reason) == (None, True, "no_speech")


def test_the_text_beside_it_is(model: Predictor) -> None:
    answer = model.predict(speech=sound(0.1), text="gloomy")
    assert answer.emotion == "sadness"
    assert set(answer.modalities) == {"fused", "text"}
    assert "no_speech" in answer.warnings


def test_each_window_and_each_step_is_asked(model: Predictor) -> None:
    samples = np.concatenate([sound(0.1, 4.0), np.zeros(16000, np.float32), sound(-0.1, 4.0)])
    answer = model.predict(speech=samples, timeline=True)
    assert answer.emotion == "happiness"
    said = [(step.start, step.emotion, step.reason) for step in answer.segments]
    assert {(emotion, reason) for start, emotion, reason in said if start < 4.0} == {(None, "no_speech")}
    assert {emotion for start, emotion, _ in said if 5.5 < start < 8.5} == {"happiness"}


def test_a_picture_does_not_count_where_nobody_speaks(model: Predictor) -> None:
    white = np.full((8, 8, 3), 255, np.uint8)
    step = model.predict(speech=sound(0.1, 3.0), vision=white, timeline=True).segments[2]
    assert (step.emotion, step.reason) == (None, "no_speech")


@pytest.mark.parametrize(
    "voice", [{"weights": [1.0] * WIDTH, "bias": 0.0}, {"weights": [float("nan")] * 2 * WIDTH, "bias": 0.0}]
)
def test_a_voice_that_does_not_fit_is_refused(
    variant: Callable[..., Bundle], plain_bundle: Bundle, voice: dict[str, object]
) -> None:
    with pytest.raises((ValueError, BundleError), match=r"voice|finite"):
        variant(parts=with_voice(plain_bundle, voice))
