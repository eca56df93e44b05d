"""How a word is said, in the phones of CMU's dictionary: a guess by spelling, for words that no dictionary has.

Rules in the manner of Elovitz et al. 1976 ("Letter-to-sound rules for automatic translation of English text"),
but few: an aligner needs about the right phones in the right order, not an accent.
"""

from __future__ import annotations

import re
import unicodedata

# Longest spelling first; "" is silent.
_SPELLINGS = {
    "tion": "SH AH N", "sion": "ZH AH N", "ough": "AO", "augh": "AO", "eigh": "EY", "tsch": "CH",
    "igh": "AY", "tch": "CH", "dge": "JH", "sch": "SH", "que": "K", "eau": "OW", "chr": "K R",
    "ch": "CH", "sh": "SH", "th": "TH", "ph": "F", "wh": "W", "ck": "K", "ng": "NG", "qu": "K W", "gh": "G",
    "sz": "SH", "cz": "CH", "ee": "IY", "ea": "IY", "oo": "UW", "ou": "AW", "ow": "OW", "oa": "OW", "ai": "EY",
    "ay": "EY", "ei": "AY", "ey": "IY", "ie": "IY", "oi": "OY", "oy": "OY", "au": "AO", "aw": "AO",
    "eu": "UW", "ew": "UW", "ue": "UW", "ui": "UW", "ar": "AA R", "or": "AO R", "er": "ER", "ir": "ER",
    "ur": "ER", "ce": "S EH", "ci": "S IH", "cy": "S IY", "ge": "JH EH",
    "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH",
    "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T",
    "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip
_LONG = {"a": "EY", "e": "IY", "i": "AY", "o": "OW", "u": "UW", "y": "AY"}
_LETTERS = str.maketrans({"ß": "ss", "ł": "l", "ø": "o", "æ": "e", "œ": "e", "đ": "d", "ð": "th", "þ": "th"})
_FIRST = {"kn": "n", "rh": "r", "wr": "r", "ps": "s", "gn": "n", "x": "z"}
_MAGIC_E = re.compile(r"(?<![aeiou])([aeiouy])([bcdfgklmnprstvz])e$")

_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_POWERS = ((1_000_000, "million"), (1000, "thousand"), (100, "hundred"))
_MOST_DIGITS = 9


def guess_phones(word: str) -> str:
    """Phones of a word, like "HH AH L OW"; "" for a word without Latin letters."""
    plain = unicodedata.normalize("NFKD", word.lower().translate(_LETTERS))
    letters = re.sub("[^a-z]", "", plain)
    for spelt, said in _FIRST.items():
        if letters.startswith(spelt):
            letters = said + letters[len(spelt) :]
            break
    magic = _MAGIC_E.search(letters)
    if magic:  # "made", "nice": the vowel is long, c and g are soft, the e is silent
        vowel, consonant = magic.groups()
        soft = {"c": "s", "g": "j"}.get(consonant, consonant)
        return " ".join([*_spelt(letters[: magic.start()]), _LONG[vowel], *_spelt(soft)])
    if len(letters) > 3 and letters.endswith("e") and letters[-2] not in "aeiou":
        letters = letters[:-1]
    if len(letters) > 2 and letters.endswith("o"):
        return " ".join([*_spelt(letters[:-1]), _LONG["o"]])
    return " ".join(_spelt(letters))


def spoken(token: str) -> list[str]:
    """The words that a token of text is said as: "Well-known," is well known, "42" is forty two.

    Lower case, letters and apostrophes only; [] for punctuation.
    """
    text = unicodedata.normalize("NFKC", token).lower().replace("\u2019", "'")
    text = re.sub(r"(?<=\d)[,\u2009\u202f](?=\d{3})", "", text)
    words: list[str] = []
    for part in re.findall(r"\d+|[^\W\d_]+(?:'[^\W\d_]+)*'?", text):
        if part.isdecimal():
            words.extend(_number(int(part)) if len(part) <= _MOST_DIGITS else map(_digit, part))
        else:
            words.append(part)
    return words


def _spelt(letters: str) -> list[str]:
    letters = re.sub(r"([^aeiou])\1", r"\1", letters)
    phones: list[str] = []
    at = 0
    while at < len(letters):
        length = next(n for n in (4, 3, 2, 1) if letters[at : at + n] in _SPELLINGS)
        phones.extend(_SPELLINGS[letters[at : at + length]].split())
        at += length
    return phones


def _number(value: int) -> list[str]:
    if value < 20:
        return [_ONES[value]]
    if value < 100:
        return [_TENS[value // 10 - 2], *([_ONES[value % 10]] if value % 10 else [])]
    power, name = next((power, name) for power, name in _POWERS if value >= power)
    rest = value % power
    return [*_number(value // power), name, *(_number(rest) if rest else [])]


def _digit(digit: str) -> str:
    return _ONES[int(digit)]
