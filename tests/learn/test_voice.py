"""What tells a voice from other sounds, learnt from both."""

from __future__ import annotations

import numpy as np
import pytest

from affetto.bundle import open_bundle
from affetto.learn.export import voice as module
from affetto.learn.export.sounds import SOUNDS, make_sounds
from affetto.learn.export.voice import fit_voice
from affetto.predictor import Predictor, frame_statistics
from affetto.predictor.voice import is_voice
from sounds import voice_like


def frames(model: Predictor, samples: np.ndarray) -> np.ndarray:
    return model._parts.speech(samples).values[0]


@pytest.fixture(scope="module")
def recordings() -> list[np.ndarray]:
    return [voice_like(1.5, seed=seed) for seed in range(40)]


def test_it_tells_sounds_that_it_was_not_fitted_on(
    recordings: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEWEST", 10)
    monkeypatch.setattr(module, "_EACH", 3)
    bundle, model = open_bundle(), Predictor(open_bundle())
    found = fit_voice(bundle, recordings[:25], recordings[25:35], np.random.default_rng(0))
    assert found is not None
    assert len(found.weights) == len(frame_statistics(frames(model, recordings[0])))
    assert np.mean([is_voice(found, frames(model, samples)) for samples in recordings[35:]]) >= 0.8
    others = [samples for _, samples in make_sounds(2, np.random.default_rng(1))]
    assert np.mean([is_voice(found, frames(model, samples)) for samples in others]) < 0.2


def test_of_few_people_held_out_nobody_is_refused(
    recordings: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEWEST", 5)
    monkeypatch.setattr(module, "_EACH", 1)
    monkeypatch.setattr(module, "_stretch", lambda samples, rng: samples)
    # Sounds in the place of speech: the function points the wrong way, but its bias still keeps whom it must.
    others = [samples for _, samples in make_sounds(1, np.random.default_rng(0))]
    bundle = open_bundle()
    found = fit_voice(bundle, others, recordings[:5], np.random.default_rng(0))
    assert found is not None
    model = Predictor(bundle)
    assert all(is_voice(found, frames(model, samples)) for samples in recordings[:5])


def test_from_few_recordings_nothing_is_learnt(recordings: list[np.ndarray]) -> None:
    assert fit_voice(open_bundle(), recordings, recordings, np.random.default_rng(0)) is None


def test_sounds_are_those_of_their_seed_and_within_range() -> None:
    made, again = (list(make_sounds(2, np.random.default_rng(3))) for _ in range(2))
    assert [name for name, _ in made] == [name for name in SOUNDS for _ in range(2)]
    for (_, one), (_, other) in zip(made, again, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.float32
        assert 0 < np.abs(one).max() <= 1
        assert len(one) in (24_000, 48_000, 96_000)
