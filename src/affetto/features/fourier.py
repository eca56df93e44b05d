"""The power spectrum of 400 real samples by matrix products.

A transform of 400 points is one of 16 points for each of 25 phases, and then one of 25 points for each of 16
frequencies (Cooley & Tukey 1965). As products of small matrices it takes six times the operations of a fast
Fourier transform and 0.6 of the time: BLAS uses the processor's vector units, numpy's transform does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LENGTH = 400
#: Up to this many frames at once each product stays below what BLAS computes in the calling thread.
MOST_FRAMES = 100

_OUTER, _INNER = 16, 25
_PAIRS = _OUTER // 2


def scratch() -> NDArray[np.float32]:
    """What `power` works in: made once and handed in, because memory that is new each time costs more."""
    return np.empty((2, MOST_FRAMES, LENGTH), np.float32)


def power(
    frames: NDArray[np.float32], window: NDArray[np.float32], scratch: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Squared magnitude of the transform of each frame times the window.

    frames [n 400], n at most MOST_FRAMES; window [400]. Returns [n 200], columns as in `FREQUENCIES`: a view
    into `scratch`, good until the next call.
    """
    here, there = scratch[0, : len(frames)], scratch[1, : len(frames)]
    np.multiply(frames, window, out=here)
    np.matmul(_FIRST, here.reshape(-1, _OUTER, _INNER), out=there.reshape(-1, _OUTER, _INNER))
    pairs = there.reshape(-1, _PAIRS, 2 * _INNER)
    parts = here.reshape(-1, _PAIRS, 2 * _INNER)
    np.matmul(pairs.swapaxes(0, 1), _SECOND, out=parts.swapaxes(0, 1))
    np.multiply(parts, parts, out=parts)
    total = scratch[1].reshape(-1)[: len(frames) * LENGTH // 2].reshape(-1, _PAIRS, _INNER)
    return np.add(parts[:, :, :_INNER], parts[:, :, _INNER:], out=total).reshape(-1, LENGTH // 2)


def _first() -> NDArray[np.float32]:
    """Real transform of 16 points, [16 16]: frequencies 0 and 8, then 1 to 7 as real and imaginary part."""
    n = np.arange(_OUTER)
    rows = [np.ones(_OUTER), np.cos(np.pi * n)]
    for k in range(1, _PAIRS):
        rows += [np.cos(2 * np.pi * k * n / _OUTER), -np.sin(2 * np.pi * k * n / _OUTER)]
    return np.array(rows, dtype=np.float32)


def _second() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Transforms of 25 points with their phase factors, [8 50 50], real and imaginary parts to the same, and
    the frequency of each column of the answer, [200].

    Frequencies above 200 stand for the mirrored ones below. The first matrix takes the two real rows and
    gives 16, 32 .. 192 of the one, 8, 24 .. 184 of the other, and 0: no room is left for 200, the highest.
    """
    matrices = np.zeros((_PAIRS, 2 * _INNER, 2 * _INNER))
    frequencies = np.zeros((_PAIRS, _INNER), dtype=np.int64)
    for k in range(1, _PAIRS):
        ks = k + _OUTER * np.arange(_INNER)
        cosine, sine = _factors(ks)
        matrices[k] = np.block([[cosine, -sine], [sine, cosine]])
        frequencies[k] = np.minimum(ks, LENGTH - ks)
    half = _INNER // 2
    for row, first in ((0, _OUTER), (1, _PAIRS)):
        ks = first + _OUTER * np.arange(half)
        cosine, sine = _factors(ks)
        inputs = slice(row * _INNER, (row + 1) * _INNER)
        matrices[0, inputs, row * half : (row + 1) * half] = cosine
        matrices[0, inputs, _INNER + row * half : _INNER + (row + 1) * half] = -sine
        frequencies[0, row * half : (row + 1) * half] = ks
    matrices[0, :_INNER, 2 * half] = 1.0
    return matrices.astype(np.float32), frequencies.ravel()


def _factors(frequencies: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    angles = 2 * np.pi / LENGTH * np.outer(np.arange(_INNER), frequencies)
    return np.cos(angles), np.sin(angles)


_FIRST = _first()
_SECOND, FREQUENCIES = _second()
