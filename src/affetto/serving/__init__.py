"""Serving: an HTTP API, a stream and a page over a Predictor, which hold under load, faults and malice.

A request passes these files in this order:

    protocol   bytes of a connection: slow, oversized or malformed headers, slow readers, too many connections
    guard      around every route: request ids, Host and Origin, error bodies, headers, counts, one log line
    auth       keys; every route declares its policy
    body       a body read into memory within limits: multipart, form, JSON
    routes     `/predict`, `/v1/predict`, `/labels`, health, notice, metrics; `oip` and `stream` beside it
    pool       a bounded queue, deadlines, workers that are replaced when they die, reload
    worker     a process with a Predictor, which may crash; `answering` is what it does

`run` starts and drains all of it. Importing this package loads none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affetto.serving.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    if name != "create_app":
        raise AttributeError(f"module 'affetto.serving' has no attribute {name!r}")
    from affetto.serving.app import create_app

    return create_app
