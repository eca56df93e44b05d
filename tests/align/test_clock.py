"""The grid: exact at ten hours, every frame and word in exactly one step, pooling the same in pieces."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affetto.align.clock import (
    HOP,
    RATE,
    Grid,
    frame_times,
    frames_within,
    pool,
    times_within,
    to_samples,
    to_seconds,
    words_within,
)
from affetto.errors import ConfigError
from affetto.records import Word

TEN_HOURS = 10 * 3600 * RATE

#: Frame rates that encoders and videos have: strides of whole samples, and pictures per second.
RATES = [100, 50, 31.25, 25, Fraction(16000, 441), Fraction(30000, 1001), 12.5]


def test_the_picture_in_the_docstring() -> None:
    grid = Grid(hop=0.5, window=1.5)
    assert grid.segments(32000).tolist() == [[0, 8000], [8000, 16000], [16000, 24000], [24000, 32000]]
    assert grid.windows(32000).tolist() == [[0, 16000], [0, 24000], [8000, 32000], [16000, 32000]]


def test_a_step_that_is_not_full_counts() -> None:
    grid = Grid(HOP, 2.0)
    assert [grid.steps(n) for n in (0, 1, 8000, 8001)] == [0, 1, 1, 2]
    assert grid.segments(8001).tolist() == [[0, 8000], [8000, 8001]]


@given(st.integers(1, 60 * RATE), st.integers(0, 50))
def test_later_steps_are_the_tail_of_all(samples: int, first: int) -> None:
    grid = Grid(HOP, 1.0)
    assert (grid.segments(samples, first=first) == grid.segments(samples)[first:]).all()
    assert (grid.windows(samples, first=first) == grid.windows(samples)[first:]).all()


@given(st.integers(0, 60 * RATE), st.sampled_from([0.5, 1.0, 4.0]))
def test_a_window_closes_when_its_last_sample_has_come(samples: int, window: float) -> None:
    grid = Grid(HOP, window)
    closed = grid.closed(samples)
    assert all(grid.closes(step) <= samples for step in range(max(closed - 3, 0), closed))
    assert grid.closes(closed) > samples
    # What is closed does not change when the stream goes on.
    assert (grid.windows(samples)[:closed] == grid.windows(samples + 12345)[:closed]).all()


@pytest.mark.parametrize(
    ("hop", "window"), [(0, 1), (-0.5, 1), (1 / 3, 1), (0.5, 0.25), (float("nan"), 1), (0.5, 0.50006251)]
)
def test_what_is_no_grid(hop: float, window: float) -> None:
    with pytest.raises(ConfigError) as caught:
        Grid(hop, window)
    assert caught.value.code == "config_invalid"


@given(st.integers(0, TEN_HOURS))
def test_samples_and_seconds_are_each_others_inverse(sample: int) -> None:
    assert to_samples(to_seconds(sample)) == sample


# --- frames -----------------------------------------------------------------------------------------------


@given(st.sampled_from(RATES), st.integers(0, 800), st.integers(TEN_HOURS - 10 * RATE, TEN_HOURS))
def test_every_frame_is_in_one_step_and_there_is_no_drift(rate: float, first: int, samples: int) -> None:
    centre = Fraction(first, RATE)
    grid = Grid(HOP, HOP)
    assert frames_within(grid.segments(samples)[:1], rate, centre)[0, 0] == 0
    steps = grid.segments(samples, first=grid.steps(samples) - 20)
    frames = frames_within(steps, rate, centre)
    assert (frames[1:, 0] == frames[:-1, 1]).all()
    # In the last steps of ten hours each frame's centre, as a fraction, lies where it was put.
    for (start, end), (low, high) in zip(steps[-4:-1].tolist(), frames[-4:-1].tolist(), strict=True):
        inside = [start <= (centre + frame / Fraction(rate)) * RATE < end for frame in (low, high - 1)]
        assert inside == [True, True]


def test_a_float_stands_for_its_fraction() -> None:
    steps = Grid(HOP, HOP).segments(TEN_HOURS, first=71_000)
    exact = frames_within(steps, Fraction(100), Fraction(1, 80))
    assert (frames_within(steps, 100.0, 0.0125) == exact).all()
    assert exact[-1].tolist() == [3_599_949, 3_599_999]


def test_frames_end_where_they_end() -> None:
    steps = Grid(HOP, HOP).segments(16000)
    assert frames_within(steps, 100, 0.0125, count=60).tolist() == [[0, 49], [49, 60]]
    assert frames_within(steps, 100, 0.0125, count=20).tolist() == [[0, 20], [20, 20]]


@given(st.sampled_from(RATES), st.integers(0, 2000))
def test_frame_times_are_the_nearest_floats(rate: float, frame: int) -> None:
    exact = Fraction(1, 80) + frame / Fraction(rate)
    assert frame_times(frame + 1, rate, 0.0125)[frame] == pytest.approx(float(exact), abs=1e-12)


def test_pictures_of_a_rate_that_varies() -> None:
    steps = Grid(HOP, HOP).segments(24000)
    assert times_within(steps, [0.0, 0.2, 0.5, 0.51, 1.4]).tolist() == [[0, 2], [2, 4], [4, 5]]
    assert times_within(steps, []).tolist() == [[0, 0]] * 3


# --- words ------------------------------------------------------------------------------------------------


def test_words_go_where_their_middle_is() -> None:
    words = (Word("a", 0.0, 0.4), Word("b", 0.4, 0.6), Word("c", 0.4, 0.7), Word("d", 1.2, 1.2))
    found = words_within(Grid(HOP, HOP).segments(24000), words)
    # The middle of "b" is at 0.5 s exactly: the step that starts there has it, whatever the floats say.
    assert [[word.text for word in step] for step in found] == [["a"], ["b", "c"], ["d"]]


@given(
    st.lists(
        st.tuples(st.integers(0, 60_000), st.integers(0, 3000)).map(
            lambda t: Word("w", t[0] / 1000, (t[0] + t[1]) / 1000)
        ),
        max_size=30,
    )
)
def test_every_word_is_in_exactly_one_step(words: list[Word]) -> None:
    spans = Grid(HOP, HOP).segments(64 * RATE)
    found = words_within(spans, words)
    assert sorted((word for step in found for word in step), key=str) == sorted(words, key=str)


def test_windows_share_words() -> None:
    found = words_within(Grid(HOP, 1.5).windows(24000), (Word("a", 0.1, 0.2), Word("b", 1.2, 1.3)))
    assert [[word.text for word in window] for window in found] == [["a"], ["a", "b"], ["b"]]
    assert words_within(np.zeros((0, 2), np.int64), (Word("a", 0, 1),)) == []


# --- pooling ----------------------------------------------------------------------------------------------


def test_the_mean_of_the_real_frames() -> None:
    values = np.array([[1.0, 10.0], [3.0, 30.0], [np.nan, np.nan], [5.0, 50.0]])
    mask = np.array([True, True, False, True])
    means, present = pool(values, mask, np.array([[0, 2], [1, 4], [2, 3], [4, 4], [0, 4]]))
    assert means.tolist() == [[2, 20], [4, 40], [0, 0], [0, 0], [3, 30]]
    assert present.tolist() == [True, True, False, False, True]
    assert means.dtype == np.float32


def test_nothing_to_pool() -> None:
    means, present = pool(np.zeros((0, 3)), np.zeros(0, bool), np.zeros((0, 2), np.int64))
    assert means.shape == (0, 3)
    assert present.shape == (0,)
    means, present = pool(np.zeros((0, 3)), np.zeros(0, bool), np.array([[0, 0]]))
    assert means.tolist() == [[0, 0, 0]]
    assert not present.any()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 30))
def test_a_stream_pools_what_a_file_does(seed: int, width: int, start: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((120, width)).astype(np.float32)
    mask = rng.random(120) < 0.8
    frames = np.sort(rng.integers(start, 120, (9, 2)), axis=1)
    whole, _ = pool(values, mask, frames)
    part, _ = pool(values[start:], mask[start:], frames - start)
    assert (whole == part).all()
    for k, (low, high) in enumerate(frames):
        alone, _ = pool(values[low:high], mask[low:high], np.array([[0, high - low]]))
        assert (alone[0] == whole[k]).all()
