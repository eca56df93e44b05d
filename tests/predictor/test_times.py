"""A fusion that asks when: every Track that the session hands it lies on the recording's clock."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from affetto.bundle import Bundle
from affetto.predictor import Predictor
from affetto.predictor.parts import Parts
from affetto.records import Track, Word
from sounds import voice_like

RATE = 16000
WORDS = (Word("furious", 0.5, 0.9), Word("happy", 2.6, 3.0), Word("gloomy", 5.0, 5.6))


@pytest.fixture
def fed(plain_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Track]]:
    """What the fusion is given, by a bundle that is made to ask for times."""
    seen: list[Mapping[str, Track]] = []
    real = Parts.fuse

    def fuse(self: Parts, tracks: Mapping[str, Track]) -> dict[str, np.ndarray]:
        seen.append(tracks)
        return real(self, {name: Track(track.values, track.mask) for name, track in tracks.items()})

    monkeypatch.setattr(Parts, "fuse", fuse)
    monkeypatch.setattr(Parts, "_reads_times", lambda self, modality: False)
    return seen


def test_tokens_stand_at_the_times_of_their_words(
    plain_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Parts, "_reads_times", lambda self, modality: True)
    parts = Parts(plain_bundle, None, 1)
    track = parts.text("furious, so gloomy", WORDS)
    np.testing.assert_allclose(track.times[0], [0.7, 0.7, np.nan, 5.3], atol=1e-6)
    assert parts.text("furious").times is None


def test_speech_and_faces_stand_on_the_same_clock(
    plain_bundle: Bundle, fed: list[Mapping[str, Track]]
) -> None:
    info = plain_bundle.info
    clocked = info.parts.speech.model_copy(update={"clock": 1.0})
    info = info.model_copy(update={"parts": info.parts.model_copy(update={"speech": clocked})})
    predictor = Predictor(Bundle(plain_bundle.path, info, plain_bundle.sha256))
    session = predictor.stream()
    session.feed(voice_like(6.0), WORDS, [(4.25, np.ones((3, 32, 32), np.float32))])
    session.finish()
    starts = [float(tracks["speech"].times[0, 0]) for tracks in fed if "speech" in tracks]
    assert max(starts) > 3.0  # windows begin later and later
    faces = {float(tracks["vision"].times[0, 0]) for tracks in fed if "vision" in tracks}
    assert faces == {4.25}


def test_a_pair_of_steps_is_heard_once_and_each_has_its_own_frames(
    plain_bundle: Bundle, fed: list[Mapping[str, Track]], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[float] = []

    def speech(self: Parts, waveform: np.ndarray, start: float = 0.0) -> Track:
        """Ten frames a second, each with its time as its value."""
        heard.append(len(waveform) / RATE)
        times = start + 0.05 + np.arange(len(waveform) // 1600, dtype=np.float32)[None] / 10
        values = np.repeat(times[..., None], 8, axis=2)
        return Track(values, np.ones(times.shape, bool), times)

    monkeypatch.setattr(Parts, "speech", speech)
    info = plain_bundle.info
    clocked = info.parts.speech.model_copy(
        update={"clock": 10.0, "timeline_seconds": 2.5, "window_seconds": 12.0}
    )
    info = info.model_copy(update={"parts": info.parts.model_copy(update={"speech": clocked})})
    session = Predictor(Bundle(plain_bundle.path, info, plain_bundle.sha256)).stream()
    closed = session.feed(voice_like(6.0))
    assert len(closed) % 2 == 0
    session.finish()
    assert len(heard) == 6 + 1
    assert sorted(heard)[-2] == pytest.approx(3.0, abs=0.2)
    frames = sorted(tuple(tracks["speech"].values[0, [0, -1], 0]) for tracks in fed)
    frames.remove(max(frames, key=lambda ends: ends[1] - ends[0]))  # the answer to the whole
    for k, (first, last) in enumerate(frames):
        assert first == pytest.approx(max(0.5 * k - 1.0, 0.0), abs=0.3)
        assert last == pytest.approx(min(0.5 * k + 1.5, 6.0), abs=0.3)


def test_a_fusion_with_times_is_fed_them(plain_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, np.ndarray]] = []

    class Fusion:
        """Stands for a session whose graph has times among its inputs."""

        def get_inputs(self) -> list[object]:
            return [type("Input", (), {"name": f"{m}_times"}) for m in ("speech", "text")]

        def get_outputs(self) -> list[object]:
            return []

        def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            asked.append(feeds)
            return []

    parts = Parts(plain_bundle, None, 1)
    parts._sessions["fusion"] = Fusion()  # type: ignore[assignment]
    known = np.array([[1.0, 2.0]], np.float32)
    values, mask = np.zeros((1, 2, 8), np.float32), np.ones((1, 2), bool)
    parts.fuse({"speech": Track(values, mask, known), "vision": Track(values, mask, known)})
    (feeds,) = asked
    assert feeds["speech_times"] is known
    assert np.isnan(feeds["text_times"]).all()
    assert feeds["text_times"].shape == feeds["text_mask"].shape
    assert "vision_times" not in feeds
