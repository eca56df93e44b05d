"""What is said for what is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affetto.align.pronounce import guess_phones, spoken

PHONES = set(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()
)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("Well-known,", ["well", "known"]),
        ("don\u2019t", ["don't"]),
        ("0", ["zero"]),
        ("42", ["forty", "two"]),
        ("1,000,300", ["one", "million", "three", "hundred"]),
        ("2014.", ["two", "thousand", "fourteen"]),
        ("1234567890", "one two three four five six seven eight nine zero".split()),
        ("90s", ["ninety", "s"]),
        ("(\u2014)", []),
    ],
)
def test_spoken(token: str, words: list[str]) -> None:
    assert spoken(token) == words


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("made", "M EY D"),
        ("nice", "N AY S"),
        ("shop", "SH AA P"),
        ("knight", "N AY T"),
        ("affetto", "AE F EH T OW"),
        ("schön", "SH AA N"),
        ("straße", "S T R AE S"),
        ("привет", ""),
        ("你好", ""),
    ],
)
def test_guess(word: str, phones: str) -> None:
    assert guess_phones(word) == phones


@given(st.text(max_size=30))
def test_every_guess_is_phones_and_every_text_can_be_spoken(text: str) -> None:
    assert set(guess_phones(text).split()) <= PHONES
    for word in spoken(text):
        assert word == word.strip()
        assert set(guess_phones(word).split()) <= PHONES
