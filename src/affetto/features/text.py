"""Text to token ids: byte-level BPE (Sennrich et al. 2016), so that no character is unknown.

A tokenizer is one `tokenizer.json`. Those trained here normalise by NFKC and lower case and put `[CLS]`
before the text; any other tokenizer of that format is used as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from affetto.errors import BundleError, ConfigError, MediaError
from affetto.records import Word

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[MASK]")  # ids 0 to 3
MAX_CHARACTERS = 100_000  # about two hours of speech in words

_BYTES = 256
# No language has tokens this long on average: the characters beyond have no say. Without a bound,
# 100,000 times U+FDFA, which NFKC writes out in 18 characters, take 8 seconds.
_CHARACTERS_PER_TOKEN = 64
_INVISIBLE = frozenset(("Zs", "Zl", "Zp", "Cc", "Cf"))  # spaces, controls, formatting


def load_tokenizer(source: str | Path | bytes) -> Tokenizer:
    """A tokenizer from a `tokenizer.json`, given as path or as bytes.

    What a user writes is text: "[MASK]" in a sentence is not the special token. Padding and truncation that
    the file asks for are switched off, they are the caller's.

    Raises BundleError `bundle_invalid` when there is no such file or it is no tokenizer.
    """
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # the package raises plain Exception for every fault of the file
        name = "the tokenizer" if isinstance(source, bytes) else str(source)
        raise BundleError(
            "bundle_invalid", f"{name}: cannot be read as a tokenizer.json ({error}); restore the file"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens; the order of the texts does not matter.

    Ids 0 to 3 are `SPECIAL_TOKENS`; the 256 bytes follow, then merges by frequency. Save it by `.save(path)`.

    Raises ConfigError `config_invalid` when the size does not hold the special tokens and the bytes.
    """
    smallest = len(SPECIAL_TOKENS) + _BYTES
    if vocab_size < smallest:
        raise ConfigError(
            "config_invalid", f"vocab_size {vocab_size}: byte-level BPE needs at least {smallest} tokens"
        )
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.encode_special_tokens = True
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((_well_formed(text) for text in texts), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", SPECIAL_TOKENS.index("[CLS]"))]
    )
    return tokenizer


def encode(tokenizer: Tokenizer, text: str, max_tokens: int) -> NDArray[np.int64]:
    """Token ids of a text, at most the first `max_tokens`: [T], with what the tokenizer adds (`[CLS]`).

    Any white space counts as one space. Halves of surrogate pairs, which a broken JSON may hold, are read as
    U+FFFD.

    Raises MediaError `text_empty` when nothing is left beside spaces and control characters, and
    `text_too_long` above `MAX_CHARACTERS`.
    """
    if len(text) > MAX_CHARACTERS:
        raise MediaError(
            "text_too_long",
            f"the text has {len(text):,} characters, expected at most {MAX_CHARACTERS:,}: give it in parts",
        )
    if all(unicodedata.category(character) in _INVISIBLE for character in text):
        raise MediaError("text_empty", "the text holds no characters to read: write some, or leave it out")
    return np.asarray(tokenizer.encode(_read(text, max_tokens)).ids[:max_tokens], dtype=np.int64)


def token_times(
    tokenizer: Tokenizer, text: str, words: Sequence[Word], max_tokens: int
) -> NDArray[np.float32]:
    """When each token of `encode(tokenizer, text, max_tokens)` was said: [T] seconds, NaN where unknown.

    It is the middle of the token's word. The words need not be those of the text exactly: both are matched in
    order, by their letters and digits, and what has no partner has no time; nor has what the tokenizer adds,
    or a script that sets no spaces between words.
    """
    read = _read(text, max_tokens)
    offsets = tokenizer.encode(read).offsets[:max_tokens]
    end = max((last for _, last in offsets), default=0)
    places = [match.span() for match in re.finditer(r"\S+", read) if match.start() < end]
    written, said = [_letters(read[slice(*place)]) for place in places], [_letters(w.text) for w in words]
    middles = np.full(len(read), np.nan, np.float32)
    for block in SequenceMatcher(None, written, said, autojunk=False).get_matching_blocks():
        for step in range(block.size):
            word = words[block.b + step]
            middles[slice(*places[block.a + step])] = (word.start + word.end) / 2
    # The last character decides: a token may begin with the space before its word.
    return np.asarray([middles[last - 1] if last > first else np.nan for first, last in offsets], np.float32)


def mostly_latin(text: str) -> bool:
    """Whether at least half of the letters are of the Latin script; a text without letters is."""
    letters = [char for char in text if char.isalpha()]
    latin = sum(unicodedata.name(char, "").startswith(("LATIN", "FULLWIDTH LATIN")) for char in letters)
    return 2 * latin >= len(letters)


def _read(text: str, max_tokens: int) -> str:
    """The part of a text that can matter, as the tokenizer is given it."""
    return _well_formed(text)[: max_tokens * _CHARACTERS_PER_TOKEN]


def _letters(word: str) -> str:
    return "".join(char for char in word.lower() if char.isalnum())


def _well_formed(text: str) -> str:
    return " ".join(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").split())
