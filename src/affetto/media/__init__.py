"""Media: bytes or paths to arrays. The only place that knows codecs and their limits.

`decode_audio`, `iter_audio`, `decode_image` and `iter_frames` are all that a predictor needs, so this package
can be handed to it as its `decoder`; a `DecodingWorker` has the same methods and runs them in processes of
its own. Names are resolved on use: importing the package loads no codec.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affetto.media.audio import AudioInfo, decode_audio, iter_audio, probe
    from affetto.media.image import decode_image
    from affetto.media.limits import (
        LONG_AUDIO,
        LONG_VIDEO,
        SAMPLE_RATE,
        AudioLimits,
        ImageLimits,
        VideoLimits,
    )
    from affetto.media.video import iter_frames
    from affetto.media.worker import DecodingWorker

_HOMES = {
    "AudioInfo": "audio",
    "AudioLimits": "limits",
    "decode_audio": "audio",
    "iter_audio": "audio",
    "probe": "audio",
    "ImageLimits": "limits",
    "LONG_AUDIO": "limits",
    "LONG_VIDEO": "limits",
    "SAMPLE_RATE": "limits",
    "VideoLimits": "limits",
    "decode_image": "image",
    "iter_frames": "video",
    "DecodingWorker": "worker",
}

__all__ = [
    "LONG_AUDIO",
    "LONG_VIDEO",
    "SAMPLE_RATE",
    "AudioInfo",
    "AudioLimits",
    "DecodingWorker",
    "ImageLimits",
    "VideoLimits",
    "decode_audio",
    "decode_image",
    "iter_audio",
    "iter_frames",
    "probe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
