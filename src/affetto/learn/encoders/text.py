"""Text encoders: token ids [B T] with their mask in, a Track [B T D] out, one step per token.

What stands at padded places is never read. `rate` is None: tokens have no clock. Times that come with the
ids (`features.text.token_times`: [B T] seconds, NaN where unknown) go out with the Track, unread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from affetto.errors import ConfigError
from affetto.learn.layers.conv import ConvBlock1d
from affetto.learn.layers.transformer import Transformer
from affetto.records import Track

_KERNELS = (3, 5, 7)
#: What tokenizers put before a token that begins a word.
_WORD_STARTS = "▁Ġ"


class WordVectors(nn.Module):
    """A vector per token and a projection: what pooling later averages is a bag of words."""

    rate = None

    def __init__(self, dim: int, *, vocab_size: int, width: int = 192, dropout: float = 0.1) -> None:
        super().__init__()
        self.out_dim, self.vocab_size = dim, vocab_size
        self.embedding = _embedding(vocab_size, width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, dim)

    def forward(self, track: Track) -> Track:
        """Ids [B T] int64 and mask [B T] bool -> Track [B T D]."""
        x = self.dropout(_embed(self.embedding, track))
        return _track(self.out(x), track)


class TextCnn(nn.Module):
    """Convolutions of 3, 5 and 7 tokens side by side (Kim 2014), kept per token: pooling comes later."""

    rate = None

    def __init__(self, dim: int, *, vocab_size: int, width: int = 192, dropout: float = 0.1) -> None:
        super().__init__()
        self.out_dim, self.vocab_size = dim, vocab_size
        self.embedding = _embedding(vocab_size, width)
        self.convs = nn.ModuleList(ConvBlock1d(width, dim, kernel) for kernel in _KERNELS)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(dim * len(_KERNELS), dim)

    def forward(self, track: Track) -> Track:
        """Ids [B T] int64 and mask [B T] bool -> Track [B T D]."""
        x = _embed(self.embedding, track).transpose(1, 2)
        keep = track.mask[:, None].to(x.dtype)
        x = torch.cat([conv(x, keep) for conv in self.convs], dim=1).transpose(1, 2)
        return _track(self.out(self.dropout(x)), track)


class TextTransformer(nn.Module):
    """A pre-norm Transformer with rotary positions: no sentence is too long, none costs a longer one."""

    rate = None

    def __init__(
        self,
        dim: int,
        *,
        vocab_size: int,
        width: int = 192,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.out_dim, self.vocab_size = dim, vocab_size
        self.embedding = _embedding(vocab_size, width)
        self.dropout = nn.Dropout(dropout)
        self.transformer = Transformer(
            width, heads, layers, dropout=dropout, stochastic_depth=dropout, rotary=True
        )
        self.out = nn.Linear(width, dim)

    def forward(self, track: Track) -> Track:
        """Ids [B T] int64 and mask [B T] bool -> Track [B T D]."""
        x = self.dropout(_embed(self.embedding, track))
        return _track(self.out(self.transformer(x, track.mask)), track)


def load_vectors(path: str | Path, tokens: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Word vectors of a word2vec or GloVe text file for the tokens of a vocabulary, in its order.

    A token is looked up as it is, then without the mark that begins a word, then in lower case. Returns the
    vectors [V D], zero where the file has none, and whether it has one [V] bool.

    Raises ConfigError `config_invalid` when the file cannot be read, a line has another number of values than
    the first, or no token at all is found.
    """
    spellings = [_spellings(token) for token in tokens]
    try:
        found, width = _read_vectors(Path(path), {spelling for group in spellings for spelling in group})
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("config_invalid", f"cannot read word vectors from {path}: {error}") from error
    if not found:
        raise ConfigError("config_invalid", f"{path} has no vector for any token of this vocabulary")
    vectors, known = torch.zeros(len(tokens), width), torch.zeros(len(tokens), dtype=torch.bool)
    for i, group in enumerate(spellings):
        spelling = next((spelling for spelling in group if spelling in found), None)
        if spelling is not None:
            vectors[i], known[i] = torch.tensor(found[spelling]), True
    return vectors, known


def _spellings(token: str) -> tuple[str, str, str]:
    plain = token.lstrip(_WORD_STARTS)
    return token, plain, plain.lower()


def _read_vectors(path: Path, wanted: set[str]) -> tuple[dict[str, list[float]], int]:
    found: dict[str, list[float]] = {}
    width = 0
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            parts = line.rstrip().split(" ")
            if number == 1 and len(parts) == 2:
                continue  # word2vec begins with the number of words and their width
            width = width or len(parts) - 1
            if width < 1 or len(parts) <= width:
                expected = f"a word and {width} numbers" if width else "a word and its numbers"
                raise ConfigError("config_invalid", f"{path}, line {number}: expected {expected}")
            word = " ".join(parts[:-width])  # some GloVe files have words with spaces
            if word in wanted and word not in found:
                found[word] = _floats(parts[-width:], path, number)
    return found, width


def _floats(values: list[str], path: Path, number: int) -> list[float]:
    try:
        return [float(value) for value in values]
    except ValueError as error:
        raise ConfigError("config_invalid", f"{path}, line {number}: {error}") from error


def _embedding(vocab_size: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(vocab_size, width)
    nn.init.trunc_normal_(embedding.weight, std=0.02)
    return embedding


def _embed(embedding: nn.Embedding, track: Track) -> Tensor:
    # Padding may hold any id, also one outside the vocabulary.
    ids = torch.where(track.mask, track.values, 0)
    x = embedding(ids)
    return x * track.mask[..., None].to(x.dtype)


def _track(x: Tensor, track: Track) -> Track:
    return Track(x * track.mask[..., None].to(x.dtype), track.mask, track.times)
