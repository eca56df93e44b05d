"""Connections: uvicorn's HTTP protocol with the limits that it lacks.

Headers must come in time and within their size; a client that does not read its answer is cut off; a body
that was refused is thrown away for a moment, so that the client can read why, and then cut off; connections
are counted. Whatever is refused here gets the same body as everywhere, and is counted and logged as a request.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets
import sys
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from affetto.serving.faults import Fault
from affetto.serving.limits import Limits
from affetto.serving.metrics import Metrics

_log = logging.getLogger("affetto.serving")
_LINGER_SECONDS, _LINGER_BYTES = 2.0, 2**25  # of a refused body, read and thrown away
_SLICE = 16 * 1024
_OVERHEAD = 4  # bytes on the wire for a byte of a body
_TOO_SLOW = Fault("request_timeout", "the headers did not come in time: send them at once")
_TOO_MANY = Fault("connections_full", "too many connections are open: try again in a moment")
_TOO_LARGE = Fault("header_too_large", "too many bytes of headers: send fewer")
_NO_HTTP = Fault("header_invalid", "this is not HTTP/1.1 that can be understood")
_TINY_CHUNKS = Fault("body_invalid", "the body comes in chunks of a few bytes: send larger ones")
_NO_SOCKET = Fault("header_invalid", "this is no WebSocket handshake: GET, version 13, a key of 16 bytes")


def make_config(app: FastAPI, limits: Limits, connections: int) -> uvicorn.Config:
    """uvicorn for an application of `create_app`, with these limits, for so many connections."""
    return uvicorn.Config(
        app,
        http=make_protocol(limits, connections, app.state.server.metrics),
        ws="websockets-sansio",
        ws_max_size=limits.message_bytes,
        ws_ping_interval=limits.ping_seconds,
        # What a client sends is not read while a worker answers it, and its pong stands behind that.
        ws_ping_timeout=limits.answer_seconds + limits.ping_seconds,
        ws_per_message_deflate=False,
        h11_max_incomplete_event_size=limits.header_bytes,
        timeout_graceful_shutdown=int(limits.drain_seconds),
        access_log=False,
        log_config=None,
        server_header=False,
    )


def make_protocol(limits: Limits, connections: int, metrics: Metrics) -> type[H11Protocol]:
    """The protocol class with these limits; uvicorn makes one instance per connection."""

    class Protocol(_Protocol):
        _limits, _most, _metrics = limits, connections, metrics

    return Protocol


class _Protocol(H11Protocol):
    """Set up by `make_protocol`."""

    _limits: Limits
    _most: int
    _metrics: Metrics
    _timer: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None
    _came = _held = _lingered = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._refuse(_TOO_MANY)
            return
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_lingering():
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self.transport.abort()
                return
        else:
            self._lingered = 0
        whole = self._in_progress() and not self._chunked()
        size = len(data) if whole else _SLICE
        for at in range(0, len(data), size):
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                return
            self._take(data[at : at + size])
        if self._in_progress():
            self._stop_waiting()
        elif (
            self._timer is None and not self.transport.is_closing() and self.transport.get_protocol() is self
        ):
            self._await_headers()  # a further request has begun on this connection

    def _take(self, data: bytes) -> None:
        """Parse a piece. Two hundred thousand chunks of a byte each would cost seconds of parsing, so the bytes
        of a body are compared with the bytes that brought them."""
        cycle = self.cycle
        before = len(cycle.body) if cycle is not None else 0
        super().data_received(data)
        if self.cycle is not cycle or cycle is None:
            self._came = self._held = 0
            return
        self._came += len(data)
        self._held += len(cycle.body) - before
        if self._came > _OVERHEAD * self._held + _SLICE and self._in_progress() and self._chunked():
            self._refuse(_TINY_CHUNKS)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_timers()
        given = dict(self.headers)
        if event.method != b"GET" or given.get(b"sec-websocket-version") != b"13" or not _is_key(given):
            self._refuse(_NO_SOCKET)
            return
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        too_large = getattr(error, "error_status_hint", 400) == 431
        self._refuse(_TOO_LARGE if too_large else _NO_HTTP)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_lingering() and not self.transport.is_closing():
            # The rest of a body that was refused: closing at once would take the answer from the client.
            self._stop_waiting()
            self._timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self.loop.call_later(self._limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _is_lingering(self) -> bool:
        """Answered before the whole body came."""
        return self.conn.their_state is h11.SEND_BODY and not self._in_progress() and self.cycle is not None

    def _chunked(self) -> bool:
        return any(name == b"transfer-encoding" for name, _ in self.headers)

    def _in_progress(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_headers(self) -> None:
        self._timer = self.loop.call_later(self._limits.header_seconds, self._refuse, _TOO_SLOW)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_timers(self) -> None:
        self._stop_waiting()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _refuse(self, fault: Fault) -> None:
        """Answer on the bare connection, and close it; cut it off in the middle of an answer."""
        self._stop_timers()
        self._unset_keepalive_if_required()
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()
            return
        request_id = secrets.token_hex(8)
        if self._in_progress():
            self.cycle.scope["state"]["refused"] = fault.code  # the guard around the route counts it
        else:
            self._metrics.request("other", fault.code)
            _log.info("- other %s id=%s", fault.code, request_id)
        body = fault.encoded(request_id)
        headers: dict[str, Any] = {
            "content-type": "application/json",
            "content-length": len(body),
            "connection": "close",
            **fault.headers(),
        }
        lines = [
            f"HTTP/1.1 {fault.status} {fault.code}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()


def _is_key(headers: dict[bytes, bytes]) -> bool:
    try:
        return len(base64.b64decode(headers.get(b"sec-websocket-key", b""), validate=True)) == 16
    except binascii.Error:
        return False
