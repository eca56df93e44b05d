"""Bodies, read into memory within limits: their bytes, their parts, their JSON. Nothing ever touches the disk.

Size, time and number are checked while the bytes come, with a Content-Length and without one; what a client
promises is refused before a byte of it is read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from affetto.errors import ServingError
from affetto.serving.limits import Limits

_PART_HEADERS, _PART_HEADER_BYTES = 8, 1024
_PLAIN_ENCODINGS = (b"", b"7bit", b"8bit", b"binary")


#: Asks for room for so many bytes more. Raises ServingError connections_full.
Grow = Callable[[int], None]


class Budget:
    """The bytes of uploads that the server holds, all requests together. `bytes` is what they are now."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.bytes = 0

    @contextmanager
    def share(self) -> Iterator[Grow]:
        """A share that grows by `grow(count)` and is given back at the end."""
        held = 0

        def grow(count: int) -> None:
            nonlocal held
            if self.bytes + count > self._most:
                raise ServingError(
                    "connections_full", "too many bytes of uploads are in memory: ask again in a moment"
                )
            self.bytes += count
            held += count

        try:
            yield grow
        finally:
            self.bytes -= held


@dataclass(slots=True)
class Part:
    """One field of a form; `file` is the name of the file that it came from, if any."""

    name: str
    file: str | None
    data: bytearray = field(default_factory=bytearray)


def media_type(request: Request) -> tuple[str, dict[str, str]]:
    """The media type of a body, lower case, and its parameters; "" where none is given.

    Raises ServingError encoding_unsupported for a body that is compressed.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ServingError(
            "encoding_unsupported", "a body with a Content-Encoding is not opened: send it as it is"
        )
    kind, options = parse_options_header(request.headers.get("content-type"))
    decoded = {name.decode("latin-1"): value.decode("latin-1") for name, value in options.items()}
    return kind.decode("latin-1").strip(), decoded


def check_length(request: Request, most: int) -> None:
    """Refuse a body that says itself that it is too long, before any of it is read.

    Raises ServingError body_too_large.
    """
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:19]) > most:
        raise _too_large(most)


async def chunks(request: Request, most: int, limits: Limits) -> AsyncIterator[bytes]:
    """The pieces of a body of at most `most` bytes, which must not come slower than the limits say.

    Raises ServingError body_too_large, request_timeout; ClientDisconnect.
    """
    check_length(request, most)
    loop = asyncio.get_running_loop()
    began, count = loop.time(), 0
    while True:
        due = began + limits.idle_seconds + count / limits.bytes_per_second
        try:
            async with asyncio.timeout_at(min(due, loop.time() + limits.idle_seconds)):
                message = await request.receive()
        except TimeoutError:
            raise ServingError(
                "request_timeout",
                f"the body came slower than {limits.bytes_per_second} bytes a second: send it again, faster",
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        count += len(piece)
        if count > most:
            raise _too_large(most)
        if piece:
            yield piece
        if not message.get("more_body", False):
            return


async def read_bytes(request: Request, most: int, limits: Limits, grow: Grow) -> bytearray:
    """A whole body of at most `most` bytes. Errors as `chunks`, and connections_full."""
    data = bytearray()
    async for piece in chunks(request, most, limits):
        grow(len(piece))
        data += piece
    return data


async def read_form(request: Request, boundary: str | None, limits: Limits, grow: Grow) -> list[Part]:
    """The parts of a multipart/form-data body.

    Raises ServingError body_invalid, parts_too_many, encoding_unsupported, and what `read_bytes` raises.
    """
    if not boundary:
        raise ServingError("body_invalid", "multipart/form-data without a boundary: let your client set it")
    form = _Form(limits)
    try:
        parser = MultipartParser(
            boundary.encode("latin-1", "replace"),
            form.callbacks(),
            max_header_count=_PART_HEADERS,
            max_header_size=_PART_HEADER_BYTES,
        )
        async for piece in chunks(request, limits.body_bytes, limits):
            grow(len(piece))
            parser.write(piece)
        parser.finalize()
    except (FormParserError, ValueError):
        raise ServingError("body_invalid", "the body is not the multipart/form-data it says it is") from None
    if not form.ended:
        raise ServingError("body_invalid", "the form ends before its last boundary: it was cut short")
    return form.parts


def read_urlencoded(data: bytearray) -> list[Part]:
    """The fields of an application/x-www-form-urlencoded body. Raises ServingError body_invalid."""
    try:
        pairs = parse_qsl(
            data.decode("ascii"), keep_blank_values=True, strict_parsing=bool(data), max_num_fields=64
        )
        return [Part(name, None, bytearray(value.encode())) for name, value in pairs]
    except ValueError:
        raise ServingError("body_invalid", "the body is not the urlencoded form it says it is") from None


def read_json(data: bytes | bytearray) -> Any:
    """JSON without NaN, without a name twice, and not too deep. Raises ServingError json_invalid."""
    try:
        return json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        reason = "nested too deeply"
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at character {error.pos}"
    except ValueError as error:
        reason = str(error).split(";")[0]
    raise ServingError("json_invalid", f"the body is not JSON that can be taken: {reason}")


class _Form:
    """Takes what the parser finds, and refuses the part that is too many."""

    def __init__(self, limits: Limits) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._limits = limits
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._open,
            "on_part_data": lambda data, start, end: self.parts[-1].data.extend(memoryview(data)[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) >= self._limits.parts:
            raise ServingError(
                "parts_too_many", f"more than {self._limits.parts} parts in the form: leave some out"
            )
        self._headers = {}

    def _header(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _open(self) -> None:
        if self._headers.get(b"content-transfer-encoding", b"").strip().lower() not in _PLAIN_ENCODINGS:
            raise ServingError(
                "encoding_unsupported", "a part of the form is encoded: send its bytes as they are"
            )
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b"").decode("latin-1"))
        if kind != b"form-data" or b"name" not in options:
            raise ServingError("body_invalid", "a part of the form has no name")
        file = options.get(b"filename")
        name = options[b"name"].decode("utf-8", "replace")
        self.parts.append(Part(name, None if file is None else file.decode("utf-8", "replace")))

    def _end(self) -> None:
        self.ended = True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _too_large(most: int) -> ServingError:
    return ServingError("body_too_large", f"a body of more than {most / 2**20:g} MiB: send less at a time")
