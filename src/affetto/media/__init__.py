"""Media: bytes or paths to arrays. The only place that knows codecs and their limits.

`decode_audio` and `decode_image` are all that a predictor needs, so this package can be handed to it as its
`decoder`; a `DecodingWorker` has the same two methods and runs them in a process of its own. Names are
resolved on use: importing the package loads no codec.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affetto.media.audio import AudioInfo, decode_audio, iter_audio, probe
    from affetto.media.image import decode_image
    from affetto.media.limits import SAMPLE_RATE, AudioLimits, ImageLimits
    from affetto.media.worker import DecodingWorker

_HOMES = {
    "AudioInfo": "audio",
    "AudioLimits": "limits",
    "decode_audio": "audio",
    "iter_audio": "audio",
    "probe": "audio",
    "ImageLimits": "limits",
    "SAMPLE_RATE": "limits",
    "decode_image": "image",
    "DecodingWorker": "worker",
}

__all__ = [
    "SAMPLE_RATE",
    "AudioInfo",
    "AudioLimits",
    "DecodingWorker",
    "ImageLimits",
    "decode_audio",
    "decode_image",
    "iter_audio",
    "probe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
