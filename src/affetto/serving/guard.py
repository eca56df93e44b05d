"""Around every route: who may reach this machine, whether there is room for work, request ids, error bodies,
headers, counts and one log line.

Plain ASGI, since Starlette's BaseHTTPMiddleware hides from routes that their client has left.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection

from affetto.errors import AffettoError, ServingError
from affetto.serving.auth import client_of, offered_key
from affetto.serving.faults import Fault, fault_of

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

    from affetto.serving.server import Server

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_log = logging.getLogger("affetto.serving")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACE = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context
_LOCAL = re.compile(r"(?i)(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")
_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """Wraps the application of one server. `work` are the routes that are refused where there is no room."""

    def __init__(self, app: App, server: Server, work: Sequence[APIRoute]) -> None:
        self._app, self._server, self._work = app, server, work
        self._standing = (
            *_ALWAYS,
            (b"affetto-purpose", server.purpose.header().encode("latin-1", "replace")),
            (b"affetto-notice", b"/notice; AI Act Art. 50(3): inform the people exposed"),
        )

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        headers = Headers(scope=scope)  # type: ignore[arg-type]
        state = scope.setdefault("state", {})
        state["request_id"] = _request_id(headers)
        answer = _Answer(scope, send, self._headers)
        try:
            _check_head(scope, self._server.limits.header_bytes)
            if self._server.local:
                _refuse_strangers(headers)
            self._admit(scope)
            await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            state["code"] = "client_gone"
        except AffettoError as error:
            if fault_of(error).code == "internal":
                _log.error("a fault: %s id=%s", error.code, state["request_id"])
            await answer.fail(fault_of(error))
        except Exception as error:
            _log.error("a fault: %s id=%s", type(error).__name__, state["request_id"])
            await answer.fail(Fault("internal", "a fault of the server; tell its operator the request_id"))
        finally:
            self._tell(scope, time.monotonic() - began)

    def _admit(self, scope: MutableMapping[str, Any]) -> None:
        """Refuse work that cannot be done in time before it is routed or read: refusing is what an overloaded
        server does most. Who has no key is not told of the line.

        Raises ServingError not_ready, shutting_down, queue_full, key_missing, key_wrong.
        """
        if scope.get("method") != "POST":
            return
        route = next((route for route in self._work if route.path_regex.match(scope["path"])), None)
        if route is None:
            return
        connection = HTTPConnection(scope)
        try:
            self._server.pool.admit(client_of(connection))
        except ServingError:
            scope["route"] = route
            self._server.keys.check(offered_key(connection))
            raise

    def _headers(self, state: dict[str, Any]) -> list[tuple[bytes, bytes]]:
        model = self._server.pool.model
        sha256 = state.get("model") or (model["model"]["sha256"] if model else "none")
        return [
            *self._standing,
            (b"x-request-id", state["request_id"].encode()),
            (b"affetto-model", sha256.encode()),
        ]

    def _tell(self, scope: MutableMapping[str, Any], seconds: float) -> None:
        state, route = scope["state"], scope.get("route")
        path = getattr(route, "path", "other")
        code = state.get("refused") or state.get("code", "ok")  # refused by the connection, while it was read
        self._server.metrics.request(path, code, seconds)
        method = scope.get("method", "WS")
        _log.info("%s %s %s %.0f ms id=%s", method, path, code, 1000 * seconds, state["request_id"])


class _Answer:
    """What is sent in answer to one request."""

    def __init__(self, scope: MutableMapping[str, Any], send: Send, headers: Callable[[Any], Any]) -> None:
        self._scope, self._send, self._headers = scope, send, headers
        self._started = False

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.close" and not self._started:  # nobody took it: there is no such route
            await self.fail(Fault("route_unknown", "no stream has this path: it is /stream"))
            return
        if kind in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
            self._started = True
            message["headers"] = [*message.get("headers", ()), *self._headers(self._scope["state"])]
        await self._send(message)

    async def fail(self, fault: Fault) -> None:
        """Answer with a fault; a response that has begun can only be broken off."""
        state = self._scope["state"]
        state["code"] = fault.code
        if self._started:
            raise ClientDisconnect
        body = fault.encoded(state["request_id"], oip=self._scope["path"].startswith("/v2"))
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **fault.headers(),
            **state.get("more_headers", {}),
        }
        kind = "http.response" if self._scope["type"] == "http" else "websocket.http.response"
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": f"{kind}.start", "status": fault.status, "headers": encoded})
        await self.send({"type": f"{kind}.body", "body": body})


def _request_id(headers: Headers) -> str:
    """The client's own id, else that of the trace which the request is part of, else a new one."""
    given = headers.get("x-request-id", "")
    if _ID.fullmatch(given):
        return given
    trace = _TRACE.fullmatch(headers.get("traceparent", ""))
    return trace[1] if trace else secrets.token_hex(8)


def _check_head(scope: MutableMapping[str, Any], most: int) -> None:
    """What the parser lets through: other versions of HTTP, and headers of any size that come at once.

    Raises ServingError header_invalid, header_too_large.
    """
    if scope.get("http_version", "1.1") not in ("1.0", "1.1"):
        raise ServingError("header_invalid", "expected HTTP/1.1")
    size = sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])
    if size + len(scope.get("raw_path", b"")) + len(scope["query_string"]) > most:
        raise ServingError("header_too_large", f"more than {most} bytes of headers and path: send fewer")


def _refuse_strangers(headers: Headers) -> None:
    """Where only this machine is served and no key is asked for, a page of another site must not reach it
    through the browser: neither by a name that leads here (Host) nor across sites (Origin).

    Raises ServingError host_refused.
    """
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _LOCAL.fullmatch(hosts[0]):
        raise ServingError(
            "host_refused", "this server is for this machine: ask it as localhost or 127.0.0.1"
        )
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in (
        f"http://{hosts[0]}".lower(),
        f"https://{hosts[0]}".lower(),
    ):
        raise ServingError("host_refused", "this server answers no pages of other sites")
