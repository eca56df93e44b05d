"""The bundle that ships, over time: silence and tones are no speech, a stream is a batch, turns are found."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from affetto import load
from affetto.bundle import DEFAULT_BUNDLE
from affetto.media import decode_audio
from affetto.predictor import Predictor
from affetto.records import Prediction, Word

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
RATE = 16_000

pytestmark = pytest.mark.skipif(not DEFAULT_BUNDLE.exists(), reason="no bundle is shipped with this checkout")
with_data = pytest.mark.skipif(not DATA.exists(), reason="the corpora are not beside this checkout")


@pytest.fixture(scope="module")
def model() -> Predictor:
    return load()


@pytest.fixture(scope="module")
def call() -> np.ndarray:
    """The three recordings of examples/, with two seconds of silence between them."""
    pause = np.zeros(2 * RATE, np.float32)
    clips = [
        decode_audio(str(ROOT / "examples" / f"{name}.flac")) for name in ("refund", "thanks", "goodbye")
    ]
    return np.concatenate([part for clip in clips for part in (clip, pause)])


WORDS = tuple(
    Word(word, 0.4 * k, 0.4 * k + 0.3) for k, word in enumerate("I want my money back now please".split())
)


def test_a_stream_is_a_batch(model: Predictor, call: np.ndarray) -> None:
    whole = model.predict(speech=call, words=WORDS, timeline=True).to_dict()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        cuts = sorted(rng.integers(0, len(call), int(rng.integers(1, 200))).tolist())
        session, waiting = model.stream(), list(WORDS)
        for start, end in zip([0, *cuts], [*cuts, len(call)], strict=True):
            ready = [word for word in waiting if word.end * RATE <= end]
            waiting = waiting[len(ready) :]
            session.feed(call[start:end], ready)
        answer = session.finish().to_dict()
        assert {**answer, "elapsed": 0} == {**whole, "elapsed": 0}


def test_silence_between_people_is_no_speech(model: Predictor, call: np.ndarray) -> None:
    answer = model.predict(speech=call, timeline=True)
    silent = sum(span.end - span.start for span in answer.spans if span.reason == "no_speech")
    assert silent == pytest.approx(6.0, abs=1.6)
    assert all(step.emotion is None for step in answer.segments if step.reason == "no_speech")


def test_what_is_no_speech_is_not_answered(model: Predictor) -> None:
    t = np.arange(4 * RATE) / RATE
    rng = np.random.default_rng(0)
    sounds = {
        "hum": 0.2 * np.sin(2 * np.pi * 50 * t),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * t),
        "noise": 0.1 * rng.normal(size=len(t)),
        "chord": 0.1 * sum(np.sin(2 * np.pi * f * t) for f in (220, 277, 330)),
        "room": 0.001 * rng.normal(size=len(t)),
    }
    for name, sound in sounds.items():
        answer = model.predict(speech=sound.astype(np.float32), timeline=True)
        assert answer.reason == "no_speech", name
        assert {step.emotion for step in answer.segments} == {None}, name


# --- on reserved people, where the corpora are ---


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("timeline_benchmark", ROOT / "benchmarks" / "timeline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@with_data
@pytest.mark.slow
def test_changes_of_emotion_are_found(model: Predictor, benchmark: ModuleType) -> None:
    people = benchmark.people(DATA, model, "reserved")
    assert benchmark.changes(model, people, seeds=4)["f1"] >= 0.6


@with_data
@pytest.mark.slow
def test_a_stream_of_reserved_people_is_a_batch(model: Predictor, benchmark: ModuleType) -> None:
    people = benchmark.people(DATA, model, "reserved")
    assert benchmark.equality(model, people, chunkings=3)["largest difference"] <= 1e-6


def test_changes_are_matched_one_to_one(benchmark: ModuleType) -> None:
    assert benchmark.matched([1.0, 5.0], [1.5, 1.9, 5.9]) == 2
    assert benchmark.matched([1.0, 1.5], [1.2]) == 1
    assert benchmark.matched([1.0], [2.1]) == 0


def test_the_diarisation_error_counts_wrong_and_missing(benchmark: ModuleType) -> None:
    from affetto.records import Span

    spans = (Span(0.0, 1.0, "anger", 0.9), Span(1.0, 1.5, None, 0.0), Span(1.5, 2.0, "sadness", 0.6))
    answer = Prediction("anger", 0.5, {}, {}, (), spans=spans)
    wrong, spoken = benchmark.diarisation(answer, [(0.0, 2.0, "anger")])
    assert wrong / spoken == pytest.approx(0.5)
