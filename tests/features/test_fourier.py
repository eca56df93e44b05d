"""The transform by matrix products against the definition."""

import numpy as np
import pytest

from affetto.features.fourier import FREQUENCIES, LENGTH, MOST_FRAMES, power, scratch


def by_definition(frames: np.ndarray) -> np.ndarray:
    angles = 2 * np.pi * np.outer(np.arange(LENGTH), np.arange(201)) / LENGTH
    return (frames @ np.cos(angles)) ** 2 + (frames @ np.sin(angles)) ** 2


def test_every_frequency_but_the_highest_is_there_once():
    assert sorted(FREQUENCIES) == list(range(200))


@pytest.mark.parametrize("n", [1, 7, MOST_FRAMES])
def test_power_is_that_of_the_definition(n):
    rng = np.random.default_rng(n)
    frames, window = rng.standard_normal((n, LENGTH)), rng.random(LENGTH)
    expected = by_definition(frames * window)[:, FREQUENCIES]
    found = power(frames.astype(np.float32), window.astype(np.float32), scratch())
    assert found.shape == (n, 200)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("frequency", [0, 1, 8, 16, 25, 100, 137, 192, 199])
def test_a_cosine_stands_in_its_column_alone(frequency):
    frame = np.cos(2 * np.pi * frequency * np.arange(LENGTH) / LENGTH)[None].astype(np.float32)
    found = power(frame, np.ones(LENGTH, np.float32), scratch())[0]
    assert FREQUENCIES[found.argmax()] == frequency
    assert found.max() == pytest.approx((LENGTH if frequency == 0 else LENGTH / 2) ** 2, rel=1e-5)
    assert np.sort(found)[-2] < 1e-4 * found.max()


def test_scratch_is_used_again_without_a_trace():
    rng = np.random.default_rng(0)
    frames, window, room = rng.random((30, LENGTH), dtype=np.float32), np.ones(LENGTH, np.float32), scratch()
    first = power(frames, window, room).copy()
    power(frames[:3] * 50, window, room)
    np.testing.assert_array_equal(power(frames, window, room), first)
