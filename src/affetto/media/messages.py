"""What a `DecodingWorker` and its child say to one another, over a pipe.

Messages have one form: four bytes of length, a JSON header of that length, and as many raw bytes as its
`bytes` says. The child is not trusted: nothing that it says is executed, unpickled or believed to be small.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

import numpy as np

from affetto.errors import CODES, AffettoError, ConfigError, MediaError
from affetto.media.source import printable

#: The child is gone, or what it says is not in the language of this file.
BROKEN_OFF = (OSError, EOFError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError)

_LONGEST_HEADER = 64 * 1024
_LONGEST_MESSAGE = 2_000
_FAMILIES: dict[str, type[AffettoError]] = {"MediaError": MediaError, "ConfigError": ConfigError}


@dataclass(frozen=True, slots=True)
class Expected:
    """What may be answered: arrays of a type and number of dimensions, of at most `piece` bytes each and
    `most` bytes in all."""

    dtype: Any
    dimensions: int
    most: int
    piece: int


@dataclass(frozen=True, slots=True)
class Piece:
    """One array of an answer: its sizes, its bytes, and (of a picture in a video) its time in seconds."""

    shape: tuple[int, ...]
    data: bytearray
    seconds: float

    def array(self, dtype: Any) -> np.ndarray:
        """The array, writeable, without a copy."""
        return np.frombuffer(self.data, dtype).reshape(self.shape)


def send(pipe: IO[bytes] | BinaryIO, header: dict[str, Any], payload: Any = b"") -> None:
    """Write one message; `payload` is bytes or a contiguous array."""
    payload = memoryview(payload).cast("B")
    text = json.dumps(header | {"bytes": len(payload)}).encode()
    pipe.write(len(text).to_bytes(4, "big") + text)
    pipe.write(payload)
    pipe.flush()


def receive(pipe: IO[bytes] | BinaryIO) -> dict[str, Any]:
    """The next header; its payload is still in the pipe. Raises EOFError, or ValueError for nonsense."""
    length = int.from_bytes(read(pipe, 4), "big")
    if length > _LONGEST_HEADER:
        raise ValueError("a header that is too long")
    header = json.loads(read(pipe, length))
    if not isinstance(header, dict):
        raise ValueError("a header that is not an object")
    return header


def read(pipe: IO[bytes] | BinaryIO, count: int) -> bytes:
    """Exactly `count` bytes. Raises EOFError."""
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError
    return data


def receive_piece(pipe: IO[bytes], expected: Expected, left: int) -> Piece | AffettoError | None:
    """The next array of an answer, an error that is the answer, or None at its end.

    `left` is how many bytes the whole answer may still have. Raises what `BROKEN_OFF` names.
    """
    header = receive(pipe)
    if header["kind"] == "done":
        return None
    if header["kind"] == "error":
        if header["code"] not in CODES:
            raise ValueError("an unknown code")
        family = _FAMILIES.get(header["family"], AffettoError)
        return family(header["code"], printable(str(header["message"]))[:_LONGEST_MESSAGE])
    count, shape = int(header["bytes"]), tuple(int(size) for size in header["shape"])
    _check_shape(shape, count, expected)
    if count > min(expected.piece, left):
        raise ValueError("more than was asked for")
    data = bytearray(count)
    if pipe.readinto(data) < count:  # type: ignore[attr-defined]
        raise EOFError
    return Piece(shape, data, float(header.get("seconds", 0.0)))


def collect(pipe: IO[bytes], expected: Expected) -> np.ndarray | AffettoError:
    """Join the pieces of an array, which are cut along its first dimension, until `done`; or an error."""
    data = bytearray()
    rest: tuple[int, ...] = (3,) * (expected.dimensions - 1)
    while isinstance(piece := receive_piece(pipe, expected, expected.most - len(data)), Piece):
        rest = piece.shape[1:]
        if data:
            data += piece.data
        else:
            data = piece.data  # a picture comes in one piece: held once, not twice
    if piece is not None:
        return piece
    return np.frombuffer(data, expected.dtype).reshape(-1, *rest)


def _check_shape(shape: tuple[int, ...], count: int, expected: Expected) -> None:
    """Raises ValueError unless `count` bytes are an array of this shape, of the kind that is expected."""
    known = len(shape) == expected.dimensions and shape[2:] in ((), (3,)) and min(shape) >= 0
    if not known or math.prod(shape) * np.dtype(expected.dtype).itemsize != count:
        raise ValueError("another answer than was asked for")
