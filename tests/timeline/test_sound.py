"""What a page takes from a recording: exact peaks however the samples come, and a copy that can be given up."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from affetto.timeline.sound import RATE, Copy, Peaks, listen


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=round(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize("block", [37, 160, 4000, 16_000, 10**6])
@pytest.mark.parametrize("most", [10, 33, 100_000])
def test_peaks_are_the_largest_samples_of_each_stretch(block: int, most: int) -> None:
    samples = noise(3.3331)
    peaks = Peaks(most)
    for at in range(0, len(samples), block):
        peaks.feed(samples[at : at + block])
    size = round(peaks.seconds * RATE)
    expected = [np.abs(samples[at : at + size]).max() for at in range(0, len(samples), size)]
    assert np.array_equal(peaks.values(), np.array(expected, np.float32))
    assert len(peaks.values()) <= most + 1


def test_ten_hours_take_no_more_memory_than_one() -> None:
    peaks = Peaks(1000)
    second = noise(1.0)
    held = []
    for _ in range(600):
        peaks.feed(second)
        held.append(len(peaks._peaks) + len(peaks._rest))
    assert max(held[300:]) <= 1000 + peaks.seconds * RATE
    assert 500 <= len(peaks.values()) <= 1001


def test_no_sound_has_no_peaks() -> None:
    assert len(Peaks().values()) == 0
    peaks, copy = listen([])
    assert len(peaks.values()) == 0
    assert copy is None


def test_the_copy_is_the_recording() -> None:
    samples = noise(2.5)
    peaks, copy = listen(samples[at : at + 7000] for at in range(0, len(samples), 7000))
    assert copy is not None
    decoded, rate = soundfile.read(io.BytesIO(copy), dtype="float32")
    assert rate == RATE
    assert len(decoded) == len(samples)
    assert np.abs(decoded - samples).max() <= 1 / 32768
    assert peaks.values().max() == np.abs(samples).max()


def test_a_copy_that_gets_too_large_is_given_up() -> None:
    copy = Copy(most=20_000)
    for _ in range(20):
        copy.feed(noise(0.1))
    assert copy.finish() is None
    small = Copy(most=20_000)
    small.feed(noise(0.1))
    assert small.finish() is not None
