"""A server that keeps to the contract of `affetto serve` and answers what a test wants: no model, no limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from affetto.labels import EMOTIONS
from affetto.records import Prediction, Segment, Span, Verdict, Word
from affetto.serving.assets import POLICY, read_files

KEY = "s3cret"


def shares(emotion: str, share: float) -> dict[str, float]:
    """`share` for one emotion, the rest for the other six alike."""
    return {name: share if name == emotion else (1 - share) / 6 for name in EMOTIONS}


def _step(index: int, emotion: str | None, reason: str | None = None) -> Segment:
    start, end = index / 2, (index + 1) / 2
    if reason == "no_speech":
        return Segment(start, end, None, {}, {}, (), 0.0, reason)
    said = {"speech": Verdict(emotion or "fear", shares(emotion or "fear", 0.6), 0.8)}
    return Segment(
        start, end, emotion, shares(emotion or "neutral", 0.7 if emotion else 0.2), said, (), 1.0, reason
    )


STEPS = (
    _step(0, "anger"), _step(1, "anger"), _step(2, None, "no_speech"), _step(3, None, "low_confidence"),
)  # fmt: skip
PREDICTION = Prediction(
    "anger",
    0.62,
    shares("anger", 0.62),
    {
        "speech": Verdict("anger", shares("anger", 0.7), 0.8),
        "text": Verdict("sadness", shares("sadness", 0.4), 0.2),
        "fused": Verdict("fear", shares("fear", 0.3), 0.0),
    },
    ("vision",),
    duration=2.0,
    segments=STEPS,
    spans=(
        Span(0.0, 1.0, "anger", 0.7),
        Span(1.0, 1.5, None, 0.0, (), "no_speech"),
        Span(1.5, 2.0, None, 0.2, (), "low_confidence"),
    ),
    words=(Word("not", 0.1, 0.3), Word("<b>again</b>", 0.4, 0.9, estimated=True)),
    warnings=("not_calibrated",),
    model={"name": "fake", "sha256": "abcdef0123456789", "licence": "none"},
)
UNSURE = replace(
    PREDICTION,
    emotion=None,
    abstained=True,
    reason="low_confidence",
    segments=(),
    spans=(),
    words=(),
    duration=None,
)


@dataclass
class Fake:
    """What the server is to do, and what it was asked."""

    url: str = ""
    key: str | None = None
    prediction: Prediction = PREDICTION
    failures: list[tuple[int, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    stream_error: dict[str, Any] | None = None
    forms: list[dict[str, Any]] = field(default_factory=list)
    starts: list[dict[str, Any]] = field(default_factory=list)
    heard: bytearray = field(default_factory=bytearray)

    def fail(self, status: int, code: str, message: str, *, retryable: bool = False, **headers: str) -> None:
        """Answer the next `/predict` with an error."""
        error = {"code": code, "message": message, "request_id": "r-1", "retryable": retryable}
        self.failures.append(
            (status, error, {name.replace("_", "-"): value for name, value in headers.items()})
        )

    def page(self, request: Request) -> Response:
        file = read_files()[request.path_params.get("name", "index.html")]
        return Response(file.data, media_type=file.type, headers={"Content-Security-Policy": POLICY})

    def notice(self, request: Request) -> Response:
        told = {"text": "…", "purpose": "demo", "complete": False, "key_required": self.key is not None}
        return JSONResponse(told)

    def labels(self, request: Request) -> Response:
        if self._stranger(request.headers.get("authorization")):
            return JSONResponse(self._locked(), 401)
        limits = {"body_bytes": 2**20, "text_characters": 1000, "stream_seconds": 60}
        return JSONResponse({"labels": EMOTIONS, "limits": limits, "model": dict(PREDICTION.model)})

    async def predict(self, request: Request) -> Response:
        if self._stranger(request.headers.get("authorization")):
            return JSONResponse(self._locked(), 401)
        form = await request.form()
        self.forms.append({
            name: value if isinstance(value, str) else (value.filename, await value.read())
            for name, value in form.items()
        })  # fmt: skip
        if self.failures:
            status, error, headers = self.failures.pop(0)
            return JSONResponse(error, status, headers)
        return JSONResponse(self.prediction.to_dict())

    async def stream(self, socket: WebSocket) -> None:
        """A step for each half second of 16-bit or float sound."""
        await socket.accept()
        start = await socket.receive_json()
        self.starts.append(start)
        given = start.get("key") and f"Bearer {start['key']}"
        if self._stranger(given or socket.headers.get("authorization")):
            return await self._end(socket, self._locked(), 1008)
        await socket.send_json({"type": "ready", "labels": EMOTIONS, "hop": 0.5})
        half = start["rate"] * (2 if start["format"] == "s16le" else 4) // 2
        told = 0
        try:
            while (message := await socket.receive())["type"] == "websocket.receive":
                self.heard += message.get("bytes") or b""
                if self.stream_error:
                    return await self._end(socket, self.stream_error, 1013)
                if "finish" in (message.get("text") or ""):
                    await socket.send_json({"type": "final", "prediction": self.prediction.to_dict()})
                    return await socket.close()
                steps = self.prediction.to_dict()["segments"][told : len(self.heard) // half]
                told += len(steps)
                if steps:
                    await socket.send_json({"type": "segments", "seconds": told / 2, "segments": steps})
        except WebSocketDisconnect:
            pass

    async def _end(self, socket: WebSocket, error: dict[str, Any], code: int) -> None:
        await socket.send_json({"type": "error", **error})
        await socket.close(code)

    def _stranger(self, given: str | None) -> bool:
        return self.key is not None and given != f"Bearer {self.key}"

    def _locked(self) -> dict[str, Any]:
        return {
            "code": "key_wrong",
            "message": "This server wants its key.",
            "request_id": "r-2",
            "retryable": False,
        }


@contextmanager
def serving() -> Iterator[Fake]:
    """A fake server on a free port of this machine."""
    fake = Fake()
    routes = [
        Route("/", fake.page),
        Route("/static/{name}", fake.page),
        Route("/notice", fake.notice),
        Route("/labels", fake.labels),
        Route("/predict", fake.predict, methods=["POST"]),
        WebSocketRoute("/stream", fake.stream),
    ]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline, "the fake server does not start"
            time.sleep(0.01)
        fake.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield fake
    finally:
        server.should_exit = True
        thread.join()
