"""Tokens: what a trained vocabulary must hold, and texts that break things."""

import json
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from affetto.errors import BundleError, ConfigError, MediaError
from affetto.features.text import (
    MAX_CHARACTERS,
    SPECIAL_TOKENS,
    encode,
    load_tokenizer,
    mostly_latin,
    token_times,
    train_tokenizer,
)
from affetto.records import Word

TEXTS = [
    "I am so happy today!",
    "I am so sad today.",
    "Why are you so angry with me?",
    "That was a surprise, I did not expect that.",
    "Ich bin so froh, dass du da bist.",
    "Jestem dzisiaj bardzo smutny.",
] * 5


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 400)


def test_the_vocabulary_begins_with_special_tokens_and_bytes(tokenizer):
    assert [tokenizer.id_to_token(i) for i in range(4)] == ["[PAD]", "[UNK]", "[CLS]", "[MASK]"]
    assert tuple(SPECIAL_TOKENS) == ("[PAD]", "[UNK]", "[CLS]", "[MASK]")
    assert 260 < tokenizer.get_vocab_size() <= 400
    assert len({tokenizer.id_to_token(i) for i in range(4, 260)}) == 256


def test_text_comes_back_normalised(tokenizer):
    ids = encode(tokenizer, "I am ﬁne,  ＴＨＡＮＫ\tyou: schön!", 64)
    assert ids.dtype == np.int64
    assert ids[0] == 2
    assert tokenizer.decode(ids.tolist()).strip() == "i am fine, thank you: schön!"


def test_frequent_words_are_one_token(tokenizer):
    assert len(encode(tokenizer, "so today", 64)) == 3
    assert len(encode(tokenizer, "xqzwv", 64)) > 4


def test_it_is_saved_whole(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    for loaded in (load_tokenizer(path), load_tokenizer(str(path)), load_tokenizer(path.read_bytes())):
        for text in (*TEXTS[:6], "[MASK] 😀 \u0301"):
            np.testing.assert_array_equal(encode(loaded, text, 64), encode(tokenizer, text, 64))


def test_training_is_deterministic_across_processes_and_orders(tokenizer):
    shuffled = TEXTS[:]
    random.Random(1).shuffle(shuffled)
    assert train_tokenizer(shuffled, 400).to_str() == tokenizer.to_str()
    code = (
        "import json, sys; from affetto.features.text import train_tokenizer\n"
        "print(train_tokenizer(json.loads(sys.stdin.read()), 400).to_str(), end='')"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(TEXTS), capture_output=True, text=True, check=True
    )
    assert other.stdout == tokenizer.to_str()


def test_texts_may_come_from_a_generator_and_be_broken():
    made = train_tokenizer((text for text in [*TEXTS, "", "a\ud800b", "\0"]), 300)
    assert made.get_vocab_size() == 300


def test_special_tokens_in_a_text_are_words(tokenizer):
    for loaded in (tokenizer, load_tokenizer(tokenizer.to_str().encode())):
        ids = encode(loaded, "[PAD] [MASK] [CLS] [UNK]", 64)
        assert ids[0] == 2
        assert (ids[1:] > 3).all()


def test_long_texts_are_cut(tokenizer):
    text = " ".join(TEXTS)
    np.testing.assert_array_equal(encode(tokenizer, text, 10), encode(tokenizer, text, 64)[:10])
    assert len(encode(tokenizer, text, 10)) == 10


def test_padding_and_truncation_of_a_file_are_not_applied(tokenizer):
    other = load_tokenizer(tokenizer.to_str().encode())
    other.enable_padding(length=50)
    other.enable_truncation(3)
    loaded = load_tokenizer(other.to_str().encode())
    np.testing.assert_array_equal(encode(loaded, TEXTS[0], 64), encode(tokenizer, TEXTS[0], 64))


HARD = {
    "lone surrogates": "so \ud800 \udfff sad",
    "split pair": "\ud83d\ude00",
    "nul": "so\0sad",
    "right to left": "\u202eأنا سعيد جدا\u202c",
    "combining marks": "a" + "\u0301" * 99_999,
    "mixed marks": "a" + "\u0301\u0323\u05b0\u1dc0" * 24_999,
    "one long word": "x" * 100_000,
    "expanding": "\ufdfa" * 100_000,
    "emoji": "👨‍👩‍👧 😀",
    "unassigned": "\U000e0fff\uffff",
    "leading space": " " * 90_000 + "sad",
}


@pytest.mark.parametrize("name", HARD)
def test_hard_texts_are_read_in_time(tokenizer, name):
    began = time.process_time()
    ids = encode(tokenizer, HARD[name], 64)
    assert time.process_time() - began < 2
    assert 2 <= len(ids) <= 64
    assert ids.min() >= 2
    assert ids.max() < tokenizer.get_vocab_size()


def test_surrogates_are_read_as_what_they_were_meant_for(tokenizer):
    np.testing.assert_array_equal(encode(tokenizer, "\ud83d\ude00", 64), encode(tokenizer, "😀", 64))
    np.testing.assert_array_equal(encode(tokenizer, "a\ud800", 64), encode(tokenizer, "a\ufffd", 64))


@pytest.mark.parametrize("text", ["", " \t\n", "\0\0", "\u200b\u200d", "\u202e\ufeff"])
def test_nothing_to_read_is_said(tokenizer, text):
    with pytest.raises(MediaError) as error:
        encode(tokenizer, text, 64)
    assert error.value.code == "text_empty"


def test_too_much_to_read_is_said(tokenizer):
    with pytest.raises(MediaError, match="100,001 characters") as error:
        encode(tokenizer, "a" * (MAX_CHARACTERS + 1), 64)
    assert error.value.code == "text_too_long"


@pytest.mark.parametrize("source", [b"", b"{}", b"\xff\xfe", b"[1, 2]", "no/such/tokenizer.json"])
def test_a_broken_tokenizer_is_said(source):
    with pytest.raises(BundleError) as error:
        load_tokenizer(source)
    assert error.value.code == "bundle_invalid"
    assert "\n" not in str(error.value)


def test_a_vocabulary_too_small_for_the_bytes_is_refused():
    assert train_tokenizer(TEXTS, 260).get_vocab_size() == 260
    with pytest.raises(ConfigError, match="at least 260") as error:
        train_tokenizer(TEXTS, 259)
    assert error.value.code == "config_invalid"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Hello there", True), ("Zażółć gęślą jaźń", True), ("", True), ("123 :-)", True), ("Привет, мир", False),
     ("我今天很高兴", False), ("مرحبا", False), ("ok 我今天很高兴", False)],
)  # fmt: skip
def test_mostly_latin_counts_letters_only(text, expected):
    assert mostly_latin(text) is expected


# --- times ---


def times_of(tokenizer, text, words, max_tokens=64):
    """Token to its time: what is read of each token, with its time (None: unknown)."""
    times = token_times(tokenizer, text, words, max_tokens)
    ids = encode(tokenizer, text, max_tokens)
    assert times.dtype == np.float32
    assert times.shape == ids.shape
    return [
        (tokenizer.decode([i], skip_special_tokens=False).strip(), None if np.isnan(t) else float(t))
        for i, t in zip(ids.tolist(), times, strict=True)
    ]


def test_tokens_are_said_in_the_middle_of_their_word(tokenizer):
    words = [Word("so", 1.0, 1.5), Word("sad", 2.0, 2.5), Word("today", 3.0, 4.0)]
    assert times_of(tokenizer, "so sad today", words) == [
        ("[CLS]", None),
        ("so", 1.25),
        ("sad", 2.25),
        ("today", 3.5),
    ]
    pieces = token_times(tokenizer, "xqzwv", [Word("XQZWV", 0.0, 1.0)], 64)
    assert len(pieces) > 3
    assert set(pieces[1:].tolist()) == {0.5}  # a word of several tokens has one time


def test_words_and_text_need_not_agree(tokenizer):
    said = [Word("uh", 0.0, 0.2), Word("So", 1.0, 1.5), Word("very", 1.6, 1.8), Word("today", 3.0, 4.0)]
    found = dict(times_of(tokenizer, "so angry today!", said))
    assert found == {"[CLS]": None, "so": 1.25, "angry": None, "today": 3.5, "!": 3.5}
    assert all(time is None for _, time in times_of(tokenizer, "so sad today", []))
    assert all(time is None for _, time in times_of(tokenizer, "我今天很高兴", [Word("我", 0.0, 1.0)]))


def test_times_end_where_the_tokens_end(tokenizer):
    text = "so happy today " * 200
    words = [Word(word, i, i + 0.5) for i, word in enumerate(text.split())]
    assert token_times(tokenizer, text, words, 3).tolist()[1:] == [0.25, 1.25]
    assert len(times_of(tokenizer, text, words, 32)) == 32
