"""What a model has to know of a tokenizer: its tokens in order, and the ids with a meaning of their own."""

from __future__ import annotations

from tokenizers import Tokenizer

#: What tokenizers call the token for the unknown, and the one that stands for a blank.
_UNKNOWN, _MASK = ("[UNK]", "<unk>", "<|endoftext|>"), ("[MASK]", "<mask>")


def vocabulary(tokenizer: Tokenizer | None, size: int) -> list[str] | None:
    """The tokens in the order of their ids, made up to `size` with names that no text has."""
    if tokenizer is None:
        return None
    tokens = [tokenizer.id_to_token(i) or "" for i in range(tokenizer.get_vocab_size())]
    return tokens + [f"[unused {i}]" for i in range(len(tokens), size)]


def unknown_id(tokenizer: Tokenizer | None) -> int:
    """The id of the token for the unknown; 0 where a tokenizer has none."""
    return _first_id(tokenizer, _UNKNOWN) or 0


def mask_id(tokenizer: Tokenizer | None) -> int | None:
    """The id of the token that stands for a blank; None where a tokenizer has none."""
    return _first_id(tokenizer, _MASK)


def _first_id(tokenizer: Tokenizer | None, names: tuple[str, ...]) -> int | None:
    found = (tokenizer.token_to_id(name) for name in names) if tokenizer is not None else ()
    return next((place for place in found if place is not None), None)


def special_ids(tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """The ids that stand for no word, such as the one that begins every text."""
    return tuple(sorted(tokenizer.get_added_tokens_decoder())) if tokenizer is not None else ()
