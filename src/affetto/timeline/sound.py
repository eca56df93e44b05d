"""What a page needs of a recording, taken from its blocks as they come: how loud it is when, and a copy to play.

Memory does not grow with the recording: peaks become coarser, and the copy is given up once it is too large.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import soundfile
from numpy.typing import NDArray

from affetto.align.clock import RATE

EMBEDDED_BYTES = 16 * 2**20  # a larger copy would make a page that no one can send by mail
_BIN = 160  # samples, 10 ms: the finest peaks
_MOST_BINS = 32_768  # an hour in steps of 160 ms, ten hours in steps of 1.28 s


class Peaks:
    """The largest |sample| of each stretch of time, of any number of samples in constant memory.

    Starts with 10 ms to a stretch; whenever there are too many, two become one.
    """

    def __init__(self, most: int = _MOST_BINS) -> None:
        self._most = most
        self._size = _BIN  # samples to a stretch
        self._peaks = np.zeros(0, np.float32)
        self._rest = np.zeros(0, np.float32)  # samples of the stretch that is not full yet

    def feed(self, block: NDArray[np.float32]) -> None:
        """Take in the next samples, float32 [n]."""
        samples = np.concatenate([self._rest, np.abs(block)])
        whole = len(samples) - len(samples) % self._size
        full = samples[:whole].reshape(-1, self._size).max(axis=1) if whole else self._peaks[:0]
        self._peaks, self._rest = np.concatenate([self._peaks, full]), samples[whole:]
        while len(self._peaks) > self._most:
            self._halve()

    @property
    def seconds(self) -> float:
        """The length of a stretch."""
        return self._size / RATE

    def values(self) -> NDArray[np.float32]:
        """[n]: the peaks so far; the last may be of a shorter stretch."""
        rest = self._rest.max(keepdims=True) if len(self._rest) else self._rest
        return np.concatenate([self._peaks, rest])

    def _halve(self) -> None:
        even = len(self._peaks) - len(self._peaks) % 2
        odd = self._peaks[even:]
        self._peaks = self._peaks[:even].reshape(-1, 2).max(axis=1)
        # A stretch without a partner goes back to the samples: its peak stands for all of them.
        self._rest = np.concatenate([np.repeat(odd, self._size), self._rest])
        self._size *= 2


class Copy:
    """The recording as FLAC, 16 bit, 16 kHz mono, as long as that takes no more than `most` bytes."""

    def __init__(self, most: int = EMBEDDED_BYTES) -> None:
        self._most = most
        self._bytes = io.BytesIO()
        self._file: soundfile.SoundFile | None = soundfile.SoundFile(
            self._bytes, "w", RATE, 1, subtype="PCM_16", format="FLAC"
        )

    def feed(self, block: NDArray[np.float32]) -> None:
        """Take in the next samples, float32 [n]."""
        if self._file is None:
            return
        self._file.write(block)
        if self._bytes.tell() > self._most:
            self._file.close()
            self._file, self._bytes = None, io.BytesIO()

    def finish(self) -> bytes | None:
        """The bytes of the file; None when it would have been larger than `most`, or has no samples."""
        if self._file is None or not self._file.frames:
            return None
        self._file.close()
        self._file = None
        return self._bytes.getvalue()


def listen(blocks: Iterable[NDArray[np.float32]]) -> tuple[Peaks, bytes | None]:
    """The peaks of a recording, and a copy of it if that is not too large."""
    peaks, copy = Peaks(), Copy()
    for block in blocks:
        peaks.feed(block)
        copy.feed(block)
    return peaks, copy.finish()
