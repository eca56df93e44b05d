"""Words without times: in order, within the speech, each as long as its letters."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affetto.align.spread import spread_words, timed_words
from affetto.records import Word


def test_over_a_duration() -> None:
    assert spread_words("I said no!", 7.0) == (
        Word("I", 0.0, 1.0, estimated=True),
        Word("said", 1.0, 5.0, estimated=True),
        Word("no!", 5.0, 7.0, estimated=True),
    )


def test_no_word_reaches_into_a_silence() -> None:
    words = spread_words("one two three four", [(1.0, 2.0), (4.0, 4.9)])
    assert [word.text for word in words] == ["one", "two", "three", "four"]
    assert all(1.0 <= w.start < w.end <= 2.0 or 4.0 <= w.start < w.end <= 4.9 for w in words)
    # "three" has a little of its time in the first stretch and most in the second.
    assert words[2].start == 4.0


@pytest.mark.parametrize(
    ("text", "speech"), [("", 3.0), ("  ", 3.0), ("a b", []), ("a b", 0.0), ("a", [(1, 1)])]
)
def test_nothing_to_spread(text: str, speech: object) -> None:
    assert spread_words(text, speech) == ()  # type: ignore[arg-type]


spans = st.lists(st.tuples(st.floats(0.01, 5), st.floats(0.01, 5)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text("abc,.", min_size=1, max_size=9), min_size=1, max_size=40), spans)
def test_words_keep_their_order_and_stay_in_the_speech(
    tokens: list[str], gaps: list[tuple[float, float]]
) -> None:
    speech, at = [], 0.0
    for gap, length in gaps:
        speech.append((at + gap, at + gap + length))
        at = speech[-1][1]
    words = spread_words(" ".join(tokens), speech)
    assert [word.text for word in words] == tokens
    assert all(word.estimated for word in words)
    assert all(a.start <= b.start + 1e-9 and a.end <= b.start + 1e-9 for a, b in pairwise(words))
    for word in words:
        assert any(start - 1e-9 <= word.start <= word.end <= end + 1e-9 for start, end in speech)


def test_one_word_has_the_times_it_was_given() -> None:
    assert timed_words(" no ", 1.0, 1.5) == (Word("no", 1.0, 1.5),)
    assert timed_words("no", 1.0, 1.5, estimated=True) == (Word("no", 1.0, 1.5, estimated=True),)
    assert [word.estimated for word in timed_words("oh no", 1.0, 1.5)] == [True, True]
    assert timed_words("oh no", 1.0, 1.0) == tuple(Word(w, 1.0, 1.0, estimated=True) for w in ("oh", "no"))
