"""affetto tells how people feel from what they say, how they say it and how they look.

    import affetto
    model = affetto.load()
    print(model.predict(speech="call.wav", text="I did not expect that").emotion)

Importing this package is cheap: the model and the libraries that run it are loaded by `load`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affetto.predictor import Predictor, load
    from affetto.records import Clip, Prediction

# From 1.29 on, ONNX Runtime's own builds report to Microsoft unless they are told not to before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = ["Clip", "Prediction", "Predictor", "__version__", "load"]

_HOMES = {
    "load": "affetto.predictor",
    "Predictor": "affetto.predictor",
    "Clip": "affetto.records",
    "Prediction": "affetto.records",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'affetto' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
