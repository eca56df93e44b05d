"""A step of the timeline is judged by what is said in one breath with it."""

from __future__ import annotations

import numpy as np

from affetto.predictor.sound import Sound, _reach

HOP = 160


def sound_of(pattern: str) -> Sound:
    """A recording whose speech is known: one character for 0.1 s, x is speech."""
    sound = Sound()
    sound.count = len(pattern) * 10 * HOP
    frames = np.repeat([letter == "x" for letter in pattern], 10).astype(np.float32)
    sound._probability.frombytes(frames.tobytes())
    return sound


def heard(pattern: str, step: tuple[float, float], window: tuple[float, float]) -> tuple[float, float]:
    samples = [(int(a * 16000), int(b * 16000)) for a, b in (step, window)]
    start, end = sound_of(pattern).utterance(*samples, 0.03)
    return start / 16000, end / 16000


def test_a_window_without_pauses_is_heard_whole() -> None:
    assert heard("x" * 40, (1.0, 1.5), (0.0, 2.5)) == (0.0, 2.5)


def test_an_utterance_ends_at_a_pause() -> None:
    # Speech from 0 to 1.0, a pause of 0.3 s, speech from 1.3 on.
    pattern = "xxxxxxxxxx...xxxxxxxxxxxxxxxxx"
    start, end = heard(pattern, (1.5, 2.0), (0.5, 3.0))
    assert abs(start - 1.27) < 0.02
    assert end == 3.0
    start, end = heard(pattern, (0.5, 1.0), (0.0, 2.0))
    assert start == 0.0
    assert abs(end - 1.03) < 0.02


def test_a_breath_is_no_pause() -> None:
    assert heard("xxxxxxxx.xxxxxxxx.xxxxxxxxxxxx", (1.0, 1.5), (0.0, 2.5)) == (0.0, 2.5)


def test_a_single_word_is_heard_with_what_is_around_it() -> None:
    start, end = heard("..........xx..................", (1.0, 1.5), (0.0, 2.5))
    assert abs((end - start) - 0.8) < 0.01
    assert start < 1.0 < 1.2 < end


def test_reach() -> None:
    assert _reach(np.zeros(50, bool)) == 0
    assert _reach(np.ones(50, bool)) == 50
    gap = np.ones(80, bool)
    gap[30:49] = False  # 0.19 s
    assert _reach(gap) == 80
    gap[30:50] = False
    assert _reach(gap) == 30
    assert _reach(~gap) == 0  # begins with 0.3 s of silence
