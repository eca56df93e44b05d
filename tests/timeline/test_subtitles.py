"""Subtitles, read back by the reader of `affetto.align`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affetto.align.words import read_words
from affetto.records import Prediction, Span, Word
from affetto.timeline.subtitles import cues, to_srt, to_vtt

LABEL = re.compile(r"\[[a-z]+\]")


def read(text: str) -> list[Word]:
    found = read_words(text.encode(), "vtt" if text.startswith("WEBVTT") else "srt")
    assert found.problems == ()
    return [word for word in found.words if not LABEL.fullmatch(word.text)]


def test_what_is_written(call: Callable[..., Prediction]) -> None:
    assert to_srt(call()) == (
        '1\n00:00:00,100 --> 00:00:00,900\n[anger] I said né,"<no>\n'
        "\n2\n00:00:02,000 --> 00:00:03,000\n[happiness]\n"
        "\n3\n00:00:03,100 --> 00:00:03,800\n[unsure] who knows?\n"
    )
    assert to_vtt(call()) == (
        "WEBVTT\n"
        "\n00:00:00.100 --> 00:00:00.900\n"
        '[anger] <00:00:00.101>I <00:00:00.200><00:00:00.250>said <00:00:00.500>né,"&lt;no&gt;\n'
        "\n00:00:02.000 --> 00:00:03.000\n[happiness]\n"
        "\n00:00:03.100 --> 00:00:03.800\n[unsure] <00:00:03.101>who <00:00:03.300>knows?\n"
    )


def test_nobody_speaks_and_no_words(call: Callable[..., Prediction]) -> None:
    silent = call(words=(), spans=(Span(0.0, 4.0, None, 0.0, (), "no_speech"),))
    assert to_srt(silent) == ""
    assert to_vtt(silent) == "WEBVTT\n"
    labels = [(cue.start, cue.end, cue.label) for cue in cues(call(words=()))]
    assert labels == [(0.0, 1.0, "anger"), (2.0, 3.0, "happiness"), (3.0, 4.0, "unsure")]


def test_words_where_nobody_was_heard_have_no_label(call: Callable[..., Prediction]) -> None:
    assert "\nhello\n" in to_srt(call(words=(Word("hello", 1.2, 1.4),)))


def test_lines_are_short(call: Callable[..., Prediction]) -> None:
    words = tuple(Word(f"word{i}", i / 5, i / 5 + 0.2) for i in range(100))
    text = to_srt(call(words=words, spans=(Span(0.0, 20.0, "surprise", 0.5),)))
    blocks = [block.split("\n")[2:] for block in text.strip().split("\n\n")]
    assert all(len(lines) <= 2 and max(map(len, lines)) <= 42 for lines in blocks)
    assert [word.text for word in read(text)] == [word.text for word in words]


def test_a_tag_in_a_word_is_text(call: Callable[..., Prediction]) -> None:
    words = (Word("a-->b", 0.1, 0.2), Word("&amp;<b>x</b>", 0.2, 0.3))
    assert [word.text for word in read(to_vtt(call(words=words)))] == ["a-->b", "&amp;<b>x</b>"]
    assert [word.text for word in read(to_srt(call(words=(words[0],))))] == ["a->b"]


@st.composite
def speech(draw: st.DrawFn) -> list[Word]:
    """Words one after the other on a grid of 10 ms, with pauses of any length."""
    at, words = 0, []
    for _ in range(draw(st.integers(0, 25))):
        at += draw(st.sampled_from([0, 0, 3, 20, 59, 60, 300]))
        length = draw(st.integers(1, 90))
        words.append(
            Word(draw(st.sampled_from(["no", "never.", "né", "O'Neil"])), at / 100, (at + length) / 100)
        )
        at += length
    return words


@given(words=speech(), edges=st.lists(st.integers(0, 60), max_size=5, unique=True))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_words_and_times_come_back(
    call: Callable[..., Prediction], words: list[Word], edges: list[int]
) -> None:
    bounds = [0.0, *(edge / 2 for edge in sorted(edges) if edge), 200.0]
    names = ["anger", None, "fear"] * 3
    spans = tuple(Span(a, b, name, 0.5) for a, b, name in zip(bounds, bounds[1:], names, strict=False))
    prediction = call(words=tuple(words), spans=spans)
    found = read(to_vtt(prediction))
    assert [word.text for word in found] == [word.text for word in words]
    for there, here in zip(found, words, strict=True):
        assert there.start == pytest.approx(here.start, abs=0.0011)
        assert there.end == pytest.approx(here.end, abs=1e-9)
        assert not there.estimated
    # SubRip has no times within a cue: the words in order, each phrase from its first start to its last end.
    assert [word.text for word in read(to_srt(prediction))] == [word.text for word in words]
    timed = [cue for cue in cues(prediction) if cue.words]
    assert [(cue.start, cue.end) for cue in timed] == [
        (cue.words[0].start, cue.words[-1].end) for cue in timed
    ]


def test_a_word_that_takes_no_time_is_still_a_cue(call: Callable[..., Prediction], tmp_path: Path) -> None:
    text = to_srt(call(words=(Word("x", 0.5, 0.5),), spans=()))
    assert text == "1\n00:00:00,500 --> 00:00:00,501\nx\n"
