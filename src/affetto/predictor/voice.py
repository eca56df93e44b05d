"""Whether what the speech part heard was a voice.

The speech detector (`affetto.align.activity`) says where in a recording somebody speaks, from what a voice is like;
a motor's strokes that ring in its case can be like it. The speech part has heard much more speech than that: the mean
and the deviation of its frames tell a voice from other sounds by one linear function, which the bundle carries.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affetto.bundle import Voice


def frame_statistics(frames: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean and standard deviation over time: frames [T D] of the speech part to [2 D]."""
    values = np.asarray(frames, np.float64)
    return np.concatenate([values.mean(axis=0), values.std(axis=0)])


def is_voice(voice: Voice, frames: NDArray[np.floating]) -> bool:
    """Whether frames [T D] of the speech part are of a voice."""
    return float(frame_statistics(frames) @ np.asarray(voice.weights)) + voice.bias >= 0
