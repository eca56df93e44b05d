"""`WS /stream`: sound as it comes, steps of the timeline as they close, the answer at the end.

One call to a worker is under way at a time, and the next message is read only after its answer: a client that
sends faster than it can be heard is slowed down by its own connection, and nothing piles up here. Messages of a
few samples are held back until they are worth a call.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import suppress
from typing import Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.websockets import WebSocket, WebSocketDisconnect

from affetto.errors import AffettoError, ServingError
from affetto.serving.auth import client_of, offered_key, with_key_later
from affetto.serving.body import read_json
from affetto.serving.calls import Call
from affetto.serving.faults import Fault, fault_of
from affetto.serving.inputs import file_name, item_of, validated
from affetto.serving.pool import Member
from affetto.serving.routes import count_answer
from affetto.serving.schemas import Options, Word
from affetto.serving.server import Server

router = APIRouter()
_numbers = itertools.count(1)
_RATE = 16_000
_CALL_SECONDS = 0.02  # of sound, at least, for a call to a worker


class Start(Options):
    """The first message of a stream."""

    type: Literal["start"]
    format: Literal["s16le", "f32le"] = "s16le"
    rate: int = Field(_RATE, ge=8_000, le=192_000)
    timeline: bool = True
    file: str | None = Field(None, max_length=1000)
    key: str | None = Field(None, max_length=1000)


class NewWords(BaseModel, extra="forbid"):
    """Words that have become known."""

    type: Literal["words"]
    words: list[Word] = Field(max_length=20_000)


class Finish(BaseModel, extra="forbid"):
    """The end of the sound."""

    type: Literal["finish"]


@router.websocket("/stream", dependencies=[Depends(with_key_later)])
async def stream(socket: WebSocket) -> None:
    """One recording as it comes."""
    server: Server = socket.app.state.server
    await socket.accept()
    task = asyncio.current_task()
    assert task is not None
    server.streams.add(task)
    try:
        await _talk(socket, server)
    except WebSocketDisconnect:
        socket.state.code = "client_gone"
    except AffettoError as error:
        await _break_off(socket, fault_of(error))
    except asyncio.CancelledError:
        if not server.pool.draining:
            raise
        await _break_off(socket, Fault("shutting_down", "the server is about to end: begin at another one"))
    finally:
        server.streams.discard(task)


async def _talk(socket: WebSocket, server: Server) -> None:
    limits = server.limits
    start = await _start(socket, server)
    if len(server.streams) > limits.streams:
        raise ServingError(
            "streams_full", f"{limits.streams} streams are open already: try again in a moment"
        )
    member = server.pool.bind()
    conversation = _Conversation(socket, server, member, start)
    try:
        await conversation.run()
    finally:
        server.pool.release(member)


async def _start(socket: WebSocket, server: Server) -> Start:
    """The first message, after the key. Raises ServingError stream_idle, stream_invalid, key_missing, key_wrong."""
    try:
        async with asyncio.timeout(server.limits.start_seconds):
            message = await _receive(socket)
    except TimeoutError:
        raise ServingError("stream_idle", "no start message came") from None
    if not isinstance(message, str):
        raise ServingError("stream_invalid", 'expected {"type": "start", ...} before any sound')
    start = validated(Start, read_json(message.encode("utf-8", "surrogatepass")))
    server.keys.check(offered_key(socket) or start.key)
    return start


class _Conversation:
    """One stream: what was agreed, and how much has come."""

    def __init__(self, socket: WebSocket, server: Server, member: Member, start: Start) -> None:
        self._socket, self._server, self._member, self._start = socket, server, member, start
        self._number = next(_numbers)
        self._client = client_of(socket, start.key)
        self._width = 2 if start.format == "s16le" else 4
        self._samples = 0
        self._held = bytearray()

    async def run(self) -> None:
        opened = False
        try:
            await self._open()
            opened = True
            while await self._step():
                pass
            if self._held:
                await self._pass_on()
            reply = await self._ask("finish")
            opened = False
        finally:
            if opened:
                await self._drop()
        count_answer(self._server, reply.facts)
        await self._send(b'{"type":"final","prediction":' + reply.data + b"}")
        await _close(self._socket, 1000)

    async def _open(self) -> None:
        start = self._start
        item = item_of(start, self._server.limits)  # checks the text as that of a request
        beside = {"text": item.text, "words": [word.model_dump() for word in start.words or ()]}
        facts = {
            "format": start.format,
            "rate": start.rate,
            "timeline": start.timeline,
            "labels": item.labels,
            "language": item.language,
            "file": file_name(start.file),
        }
        await self._ask("open", facts, json.dumps(beside).encode())
        model = self._member.worker.model
        known = {name: model["model"][name] for name in ("name", "sha256", "licence")}
        said = {
            "type": "ready",
            "rate": start.rate,
            "hop": model["hop"],
            "labels": model["labels"],
            "model": known,
        }
        await self._send(json.dumps({**said, "request_id": self._socket.state.request_id}).encode())

    async def _step(self) -> bool:
        """Take one message; whether more are to come."""
        try:
            async with asyncio.timeout(self._server.limits.stream_idle_seconds):
                message = await _receive(self._socket)
        except TimeoutError:
            raise ServingError("stream_idle", "nothing came for too long: send finish at the end") from None
        if isinstance(message, bytes):
            await self._hear(message)
            return True
        said = read_json(message.encode("utf-8", "surrogatepass"))
        if isinstance(said, dict) and said.get("type") == "words":
            words = validated(NewWords, said).words
            await self._pass_on(json.dumps([word.model_dump() for word in words]).encode())
            return True
        validated(Finish, said)
        return False

    async def _hear(self, samples: bytes) -> None:
        limits = self._server.limits
        if len(samples) % self._width:
            raise ServingError(
                "stream_invalid", f"{len(samples)} bytes are no whole {self._start.format} samples"
            )
        self._samples += len(samples) // self._width
        if len(samples) > limits.message_bytes or self._samples > limits.stream_seconds * self._start.rate:
            raise ServingError(
                "stream_too_long",
                f"more than {limits.message_bytes} bytes in a message, or {limits.stream_seconds:g} s in all",
            )
        self._held += samples
        if len(self._held) >= _CALL_SECONDS * self._start.rate * self._width:
            await self._pass_on()

    async def _pass_on(self, words: bytes = b"") -> None:
        """Give a worker the sound that is held, and tell what it makes of it."""
        samples, self._held = bytes(self._held), bytearray()
        reply = await self._ask("feed", None, samples, words)
        if reply.data:
            seconds = json.dumps(round(self._samples / self._start.rate, 3)).encode()
            await self._send(b'{"type":"segments","seconds":' + seconds + b',"segments":' + reply.data + b"}")

    async def _ask(self, name: str, facts: dict[str, Any] | None = None, *blobs: bytes) -> Any:
        deadline = asyncio.get_running_loop().time() + self._server.limits.answer_seconds
        call = Call(name, {**(facts or {}), "stream": self._number}, blobs)
        reply, _ = await self._server.pool.ask(call, deadline, self._client, self._member)
        return reply

    async def _drop(self) -> None:
        """Let the worker forget a stream that will not be finished."""
        with suppress(AffettoError):  # the worker that held it is gone
            await self._ask("drop")

    async def _send(self, message: bytes) -> None:
        await _send(self._socket, message, self._server.limits.write_seconds)


async def _receive(socket: WebSocket) -> str | bytes:
    """The next message. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    return text if text is not None else message.get("bytes") or b""


async def _send(socket: WebSocket, message: bytes, seconds: float) -> None:
    """Send text. A client that does not read it in time is gone, as is one that has just closed the stream:
    uvicorn then refuses to send with a RuntimeError.

    Raises WebSocketDisconnect.
    """
    text = message.decode()
    try:
        async with asyncio.timeout(seconds):
            await socket.send_text(text)
    except (TimeoutError, RuntimeError):
        raise WebSocketDisconnect(1006) from None


async def _close(socket: WebSocket, code: int) -> None:
    with suppress(RuntimeError):  # the client was first
        await socket.close(code)


async def _break_off(socket: WebSocket, fault: Fault) -> None:
    socket.state.code = fault.code
    body = {"type": "error", **fault.body(socket.state.request_id)}
    with suppress(WebSocketDisconnect):  # it left in the meantime
        await _send(socket, json.dumps(body).encode(), 1.0)
        await _close(socket, fault.close_code)
