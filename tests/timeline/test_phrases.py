"""Phrases: no word is lost, and each cut has its reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from affetto.records import Span, Word
from affetto.timeline.phrases import phrases


def spoken(*texts: str, gap: float = 0.0, length: float = 0.2) -> list[Word]:
    return [Word(text, i * (length + gap), i * (length + gap) + length) for i, text in enumerate(texts)]


def cut(words: list[Word], *spans: Span) -> list[str]:
    return [phrase.text for phrase in phrases(words, spans)]


def test_cut_at_pauses_and_where_the_emotion_changes() -> None:
    assert cut(spoken("a", "b", "c", gap=0.5)) == ["a b c"]
    assert cut(spoken("a", "b", "c", gap=0.7)) == ["a", "b", "c"]
    spans = Span(0.0, 0.35, "anger", 1.0), Span(0.35, 0.6, "sadness", 1.0)
    # The middle of the second word is at 0.3.
    assert cut(spoken("a", "b", "c"), *spans) == ["a b", "c"]
    assert [phrase.span for phrase in phrases(spoken("a", "b", "c"), spans)] == list(spans)


def test_words_outside_every_span_are_kept() -> None:
    found = list(phrases(spoken("a", "b", "c"), [Span(0.2, 0.4, "fear", 1.0)]))
    assert [(phrase.text, phrase.span is None) for phrase in found] == [
        ("a", True),
        ("b", False),
        ("c", True),
    ]


def test_long_speech_is_cut_at_sentences_and_before_it_fills_two_lines() -> None:
    long = spoken(*["word"] * 9, "end.", *["more"] * 40)
    found = cut(long)
    assert found[0].endswith("end.")
    assert all(len(text) <= 70 for text in found)
    slow = spoken(*"abcdefghij", length=1.0)
    assert cut(slow) == ["a b c d e f g", "h i j"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "bb", "the end.", " ", ""]), st.floats(0, 50), st.floats(0, 3)),
        max_size=30,
    )
)
def test_every_word_is_in_one_phrase(drawn: list[tuple[str, float, float]]) -> None:
    words = [Word(text, start, start + length) for text, start, length in drawn]
    spans = [Span(5.0, 10.0, "anger", 1.0), Span(10.0, 30.0, None, 0.0)]
    found = [word for phrase in phrases(words, spans) for word in phrase.words]
    assert sorted(found, key=lambda w: (w.start, w.end, w.text)) == sorted(
        (word for word in words if word.text.strip()), key=lambda w: (w.start, w.end, w.text)
    )
