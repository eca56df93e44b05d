"""Speech activity: finds speech, refuses what is none, and answers a stream as it answers a file."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affetto.align.activity import (
    FIRST_FRAME,
    FRAME_RATE,
    LOOK_AHEAD,
    LOOK_BACK,
    ActivityStream,
    cues,
    speech_probability,
    speech_spans,
)

RATE = 16_000
SENTENCE = "I never said that you could take my money"


def seconds(length: float) -> np.ndarray:
    return np.arange(int(length * RATE)) / RATE


def noise(length: float, colour: int, level: float = 0.1) -> np.ndarray:
    spectrum = np.fft.rfft(np.random.default_rng(colour).standard_normal(int(length * RATE)))
    spectrum /= np.maximum(np.arange(len(spectrum)) / length, 20) ** (colour / 2)
    samples = np.fft.irfft(spectrum)
    return (samples * level / samples.std()).astype(np.float32)


def chords(length: float) -> np.ndarray:
    t = seconds(length)
    steps = np.array([0, 5, 7, 3])[(t / 0.4).astype(int) % 4]
    fade = np.exp(-3 * (t % 0.4))
    voices = [
        np.sin(2 * np.pi * k * 220 * 2 ** ((steps + n) / 12) * t) / k for n in (0, 4, 7) for k in (1, 2, 3)
    ]
    return (0.1 * fade * np.sum(voices, axis=0)).astype(np.float32)


NO_SPEECH = {
    "nothing": np.zeros(2 * RATE, np.float32),
    "white noise": noise(3, 0),
    "pink noise": noise(3, 1),
    "brown noise": noise(3, 2),
    "throbbing noise": (noise(3, 1) * (1 + np.sin(2 * np.pi * 4 * seconds(3)))).astype(np.float32),
    "quiet room": noise(3, 1, 3e-4),
    "tone": (0.3 * np.sin(2 * np.pi * 440 * seconds(2))).astype(np.float32),
    "beeps": (0.3 * np.sin(2 * np.pi * 900 * seconds(3)) * (seconds(3) % 0.6 < 0.3)).astype(np.float32),
    "siren": (0.3 * np.sin(500 * np.sin(2 * np.pi * seconds(3)) + 4000 * seconds(3))).astype(np.float32),
    "hum": sum(np.sin(2 * np.pi * 50 * k * seconds(2)) / k for k in range(1, 20)).astype(np.float32) * 0.1,
    "chords": chords(4),
    "click": np.eye(1, RATE, 8000, dtype=np.float32)[0],
    "offset": np.full(RATE, 0.5, np.float32),
}


@pytest.mark.parametrize("sound", NO_SPEECH)
def test_what_is_no_speech(sound: str) -> None:
    assert speech_spans(speech_probability(NO_SPEECH[sound])) == ()


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01])
def test_speech_is_found_where_it_is(say: Callable, gain: float) -> None:
    spoken = say(SENTENCE, silence=1.0)
    ((start, end),) = speech_spans(speech_probability(gain * spoken.waveform))
    assert start == pytest.approx(1.0, abs=0.08)
    assert end == pytest.approx(len(spoken.waveform) / RATE - 1.0, abs=0.08)


@pytest.mark.parametrize("colour", [0, 1])
def test_speech_is_found_in_noise(say: Callable, colour: int) -> None:
    spoken = say(SENTENCE, silence=1.0).waveform
    length = len(spoken) / RATE
    noisy = spoken + noise(length + 1, colour)[: len(spoken)] * 10 * spoken.std() * 10 ** (-20 / 20)
    spans = speech_spans(speech_probability(noisy))
    assert spans[0][0] == pytest.approx(1.0, abs=0.15)
    assert sum(end - start for start, end in spans) > 0.7 * (length - 2)
    assert spans[-1][1] < length - 0.9


def test_two_sentences_are_two_spans(say: Callable) -> None:
    first, second = say(SENTENCE, silence=0.5).waveform, say("leave me alone please", silence=0.5).waveform
    spans = speech_spans(speech_probability(np.concatenate([first, second])))
    assert len(spans) == 2
    assert spans[0][1] < len(first) / RATE < spans[1][0]


def test_frames_are_those_of_the_features() -> None:
    features = pytest.importorskip("affetto.features.spectral")
    for samples in (0, 399, 400, 559, 560, 16_000):
        waveform = np.zeros(samples, np.float32)
        expected = 0 if samples < 400 else len(features.log_mel(waveform))
        assert len(speech_probability(waveform)) == expected
    times = np.arange(98) / FRAME_RATE + FIRST_FRAME
    assert features.frame_times(98) == pytest.approx(times)


@pytest.fixture(scope="module")
def recording(say: Callable) -> np.ndarray:
    """Speech, music, noise and speech again: 12 s."""
    first, last = say(SENTENCE, silence=0.7).waveform, say("no no no", silence=0.2).waveform
    return np.concatenate([first, chords(3), noise(2, 1), last, first[: 2 * RATE + 77]])


def test_a_part_with_its_context_gets_the_answers_of_the_whole(recording: np.ndarray) -> None:
    whole = speech_probability(recording)
    rng = np.random.default_rng(0)
    back, ahead = round(LOOK_BACK * FRAME_RATE), round(LOOK_AHEAD * FRAME_RATE)
    hop = RATE // FRAME_RATE
    for _ in range(10):
        first = int(rng.integers(0, len(whole) - 500))
        end = int(rng.integers(first + 450, len(whole))) * hop + int(rng.integers(0, hop))
        part = speech_probability(recording[first * hop : end])
        low = back if first else 0
        assert (part[low : len(part) - ahead] == whole[first + low : first + len(part) - ahead]).all()


def test_the_end_is_not_known_yet(recording: np.ndarray) -> None:
    whole = speech_probability(recording)
    needed = 0
    for end in range(2 * RATE, 10 * RATE, RATE):
        seen = speech_probability(recording[:end])
        differs = np.flatnonzero(seen != whole[: len(seen)])
        needed = max(needed, len(seen) - int(differs[0]) if len(differs) else 0)
    assert 0.4 * LOOK_AHEAD * FRAME_RATE < needed <= LOOK_AHEAD * FRAME_RATE


# --- a stream -----------------------------------------------------------------------------------------------


def streamed(recording: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    stream = ActivityStream()
    return [*(stream.feed(chunk) for chunk in np.split(recording, cuts)), stream.finish()]


@settings(max_examples=15, deadline=None, suppress_health_check=[*HealthCheck])
@given(cuts=st.lists(st.integers(0, 12 * RATE), max_size=12))
def test_a_stream_answers_as_the_whole_however_it_is_cut(recording: np.ndarray, cuts: list[int]) -> None:
    answers = streamed(recording, sorted(cuts))
    assert all(answer.dtype == np.float32 for answer in answers)
    assert np.array_equal(np.concatenate(answers), speech_probability(recording))


@pytest.mark.parametrize("chunk", [320, 1600, 15_999, 16_000, 16_001])
def test_a_stream_of_even_chunks(recording: np.ndarray, chunk: int) -> None:
    answers = streamed(recording, list(range(chunk, len(recording), chunk)))
    assert np.array_equal(np.concatenate(answers), speech_probability(recording))


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 511, 512, 559, 560, 16_000, 16_511, 16_512, 16_513])
def test_short_streams(recording: np.ndarray, samples: int) -> None:
    part = recording[9_000 : 9_000 + samples]
    for cuts in ([], [samples // 2], [samples // 3, samples // 3, samples]):
        assert np.array_equal(np.concatenate(streamed(part, cuts)), speech_probability(part))


def test_a_stream_answers_in_time(recording: np.ndarray) -> None:
    stream, whole = ActivityStream(), speech_probability(recording)
    known = 0
    for end in range(800, len(recording), 800):
        frames = stream.feed(recording[end - 800 : end])
        assert np.array_equal(frames, whole[known : known + len(frames)])
        known += len(frames)
        assert known >= (end / RATE - LOOK_AHEAD - 1) * FRAME_RATE


def test_a_stream_does_not_grow() -> None:
    stream = ActivityStream()
    part = noise(20, 1)
    sizes = []
    for _ in range(3):
        for start in range(0, len(part), 4000):
            stream.feed(part[start : start + 4000])
        sizes.append(len(pickle.dumps(stream)))
    assert max(sizes) < 300_000
    assert max(sizes) - min(sizes) < 1000


def test_a_stream_keeps_no_array_of_its_caller(recording: np.ndarray) -> None:
    stream, frames = ActivityStream(), []
    buffer = np.zeros(1600, np.float32)
    even = recording[: len(recording) // 1600 * 1600]
    for chunk in even.reshape(-1, 1600):
        buffer[:] = chunk
        frames.append(stream.feed(buffer))
    assert np.array_equal(np.concatenate([*frames, stream.finish()]), speech_probability(even))


def test_what_a_stream_refuses() -> None:
    stream = ActivityStream()
    for wrong in (np.zeros((2, 400), np.float32), np.zeros(400, np.int16)):
        with pytest.raises(ValueError, match="expected floats"):
            stream.feed(wrong)
    assert len(stream.feed(np.zeros(0, np.float32))) == len(stream.finish()) == 0
    with pytest.raises(ValueError, match="finished"):
        stream.feed(np.zeros(400, np.float32))
    with pytest.raises(ValueError, match="finished"):
        stream.finish()


# --- spans, cues ----------------------------------------------------------------------------------------------


def test_spans_close_gaps_drop_blips_and_add_a_margin() -> None:
    probability = np.zeros(300)
    probability[100:130] = 0.9
    probability[140:160] = 0.5  # after a gap of 0.1 s
    probability[200:210] = 1.0  # a blip of 0.1 s
    assert speech_spans(probability) == (pytest.approx((0.9775, 1.6375)),)
    assert speech_spans(probability, threshold=0.6) == (pytest.approx((0.9775, 1.3375)),)
    assert speech_spans(np.ones(100)) == (pytest.approx((0.0, 1.015)),)
    assert speech_spans(np.zeros(0)) == ()


def test_cues_of_a_voice_and_of_a_tone(say: Callable) -> None:
    voice = cues(say(SENTENCE).waveform)[60:150].mean(axis=0)
    tone = cues(NO_SPEECH["beeps"])[60:150].mean(axis=0)
    assert voice[2] < 0.5 < tone[2]  # steadiness
    assert voice[3] > tone[3]  # change


@pytest.mark.parametrize("wrong", [np.zeros((2, 400), np.float32), np.zeros(400, np.int16)])
def test_what_is_no_waveform(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected floats"):
        speech_probability(wrong)
