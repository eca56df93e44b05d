"""One seed everywhere: a Generator for each purpose, named by words and counted by numbers.

Nothing keeps a random state. Whoever needs randomness asks for the Generator of (seed, purpose, epoch, draw),
and gets the same one whatever ran before: that is what makes a resumed run equal to one that never stopped.
"""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *purpose: int | str) -> np.random.Generator:
    """The Generator of a purpose, such as `generator(seed, "speech", "augment", epoch, draw)`."""
    return np.random.default_rng(_words(seed, purpose))


def torch_seed(seed: int, *purpose: int | str) -> int:
    """A 63-bit seed of a purpose, for `torch.manual_seed`."""
    state = np.random.SeedSequence(_words(seed, purpose)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def _words(seed: int, purpose: tuple[int | str, ...]) -> list[int]:
    return [seed, *(zlib.crc32(word.encode()) if isinstance(word, str) else word for word in purpose)]
