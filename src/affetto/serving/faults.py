"""Errors to answers: which HTTP status a code has, and whether asking again may help."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from affetto.errors import AffettoError

#: Code to HTTP status. A code that is not here is a fault of the server: 500.
STATUS: Mapping[str, int] = {
    **dict.fromkeys(
        ("header_invalid", "body_invalid", "json_invalid", "field_unknown", "field_twice", "tensor_invalid",
         "stream_invalid"),
        400,
    ),
    **dict.fromkeys(("key_missing", "key_wrong"), 401),
    "host_refused": 403,
    **dict.fromkeys(("route_unknown", "model_unknown"), 404),
    "method_unsupported": 405,
    **dict.fromkeys(("request_timeout", "stream_idle"), 408),
    **dict.fromkeys(
        ("body_too_large", "parts_too_many", "media_too_large", "audio_too_long", "image_too_large",
         "text_too_long", "stream_too_long"),
        413,
    ),
    **dict.fromkeys(
        ("encoding_unsupported", "media_type_unsupported", "audio_unknown_format", "image_unknown_format",
         "video_unsupported"),
        415,
    ),
    **dict.fromkeys(
        ("value_invalid", "audio_empty", "audio_corrupt", "audio_truncated", "audio_too_short", "audio_silent",
         "audio_not_finite", "audio_rate_unsupported", "audio_channels_unsupported", "image_empty",
         "image_corrupt", "decoder_crashed", "decoder_timeout", "text_empty", "words_invalid",
         "label_unknown", "nothing_to_predict"),
        422,
    ),
    **dict.fromkeys(("queue_full", "streams_full"), 429),
    "header_too_large": 431,
    "client_gone": 499,
    **dict.fromkeys(
        ("connections_full", "not_ready", "shutting_down", "worker_died", "decoder_unavailable"), 503
    ),
    "deadline_exceeded": 504,
}  # fmt: skip

#: Codes that speak of the moment, not of the request: the same request may succeed later.
RETRYABLE = frozenset(
    ("request_timeout", "queue_full", "streams_full", "connections_full", "not_ready", "shutting_down",
     "worker_died", "decoder_unavailable", "deadline_exceeded")
)  # fmt: skip

#: Code to the close code of a stream; what is wrong with its sound or messages is 1003.
CLOSE: Mapping[str, int] = {
    **dict.fromkeys(("key_missing", "key_wrong", "stream_idle", "host_refused"), 1008),
    "stream_too_long": 1009,
    **dict.fromkeys(("worker_died", "internal", "decoder_unavailable"), 1011),
    "shutting_down": 1012,
    **dict.fromkeys(("streams_full", "queue_full", "not_ready", "deadline_exceeded"), 1013),
}

RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """The answer to a request that failed."""

    code: str
    message: str

    @property
    def status(self) -> int:
        return STATUS.get(self.code, 500)

    @property
    def retryable(self) -> bool:
        return self.code in RETRYABLE

    @property
    def close_code(self) -> int:
        return CLOSE.get(self.code, 1003)

    def headers(self) -> dict[str, str]:
        """What goes with the status: Retry-After with every 429 and 503, the scheme with every 401."""
        if self.status in (429, 503):
            return {"retry-after": str(RETRY_AFTER_SECONDS)}
        return {"www-authenticate": "Bearer"} if self.status == 401 else {}

    def body(self, request_id: str) -> dict[str, str | bool]:
        """`{code, message, request_id, retryable}`: the one shape of every answer that is not a success."""
        return {
            "code": self.code,
            "message": self.message,
            "request_id": request_id,
            "retryable": self.retryable,
        }

    def encoded(self, request_id: str, *, oip: bool = False) -> bytes:
        """The body as JSON; `oip`: with `error` too, which clients of the Open Inference Protocol read."""
        more = {"error": self.message} if oip else {}
        return json.dumps({**self.body(request_id), **more}, ensure_ascii=False).encode("utf-8", "replace")


def fault_of(error: AffettoError) -> Fault:
    """What a client is told of an error: nothing of the server's inside, whose messages name files."""
    if STATUS.get(error.code, 500) == 500:
        return Fault("internal", "a fault of the server; tell its operator the request_id")
    return Fault(error.code, str(error))
