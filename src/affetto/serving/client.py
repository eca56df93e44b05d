"""A thin client of a server: files, words and sound in, the server's JSON out as a dict.

    client = Client("http://127.0.0.1:8000")
    client.predict(speech="call.wav", text="Thank you so much!")["emotion"]

It keeps no connection between calls and may be shared by threads.
"""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from affetto.errors import CODES, AffettoError, ConfigError, MediaError
from affetto.records import Word

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

Source = str | Path | bytes
Fields = Mapping[str, tuple[str | None, bytes]]  # of a form: name to (file name, bytes)

_BUSY = (429, 503)  # the server did nothing yet, so the same may be asked again
_LONGEST_WAIT = 30.0  # seconds; who is told to wait longer decides for himself
_MESSAGE = 65_536  # samples to a message of a stream, 256 KiB


class ServerError(AffettoError):
    """An error that a server answered, or the lack of an answer (`server_unreachable`).

    `code` is the server's, or `server_refused` where this version does not know it. `request_id` finds the
    request in the server's log; `retryable` says whether the same request may succeed later.
    """

    def __init__(
        self, code: str, message: str, *, request_id: str | None = None, retryable: bool = False
    ) -> None:
        super().__init__(code if code in CODES else "server_refused", message)
        self.request_id = request_id
        self.retryable = retryable


class Client:
    """Asks the server at `url`, with its `key` where it wants one.

    `timeout` is how many seconds to wait for each read and write. A request that the server has no room for
    (429, 503) is asked up to `retries` times more, after the seconds that the server names.
    Raises ConfigError `option_invalid` for a `url` that is none.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 60.0, retries: int = 2) -> None:
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise ConfigError(
                "option_invalid", f"url {url!r}: expected http://HOST:PORT or https://HOST:PORT"
            )
        self._place = place
        self._path = place.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = timeout
        self._retries = retries

    def predict(
        self,
        speech: Source | None = None,
        text: str | None = None,
        vision: Source | None = None,
        *,
        words: Source | Sequence[Word] | None = None,
        timeline: bool = False,
        labels: Sequence[str] | None = None,
        language: str | None = None,
    ) -> dict[str, Any]:
        """The answer for one item, from any subset of its media, in the shape of `Prediction.to_dict()`.

        speech, vision: a path, or the bytes of a file. words: what was said with times, as Words or as a file
        of a known format. The rest as in `Predictor.predict`. Raises ServerError, and MediaError
        `media_not_found` or `media_unreadable` for a path.
        """
        fields: dict[str, tuple[str | None, bytes]] = {}
        for name, source in (("audio_file", speech), ("image_file", vision)):
            if source is not None:
                fields[name] = _file(source)
        if words is not None:
            fields["words"] = (
                _file(words) if isinstance(words, str | Path | bytes) else (None, _listed(words))
            )
        plain = {
            "text": text,
            "labels": ",".join(labels) if labels else None,
            "language": language,
            "timeline": "true" if timeline else None,
        }
        fields |= {name: (None, value.encode()) for name, value in plain.items() if value is not None}
        boundary = secrets.token_hex(16)
        return self._ask(_form(fields, boundary), f"multipart/form-data; boundary={boundary}")

    def stream(
        self,
        *,
        rate: int = 16_000,
        text: str | None = None,
        timeline: bool = True,
        labels: Sequence[str] | None = None,
        language: str | None = None,
    ) -> Stream:
        """A stream for sound that comes in pieces at `rate` samples a second; a context manager.

        `text` without times stands beside all that is spoken. Raises ServerError.
        """
        start = {"type": "start", "format": "f32le", "rate": rate, "text": text, "timeline": timeline}
        start |= {"labels": list(labels) if labels else None, "language": language}
        scheme = self._place.scheme.replace("http", "ws")
        url = f"{scheme}://{self._place.netloc}{self._path}/stream"
        return Stream(url, self._headers, start, self._timeout)

    def _ask(self, body: bytes, kind: str) -> dict[str, Any]:
        for left in range(self._retries, -1, -1):
            status, headers, answer = self._post(body, kind)
            if status == 200:
                return answer
            wait = float(headers.get("Retry-After") or 1)
            if status not in _BUSY or not left or wait > _LONGEST_WAIT:
                break
            time.sleep(wait)
        raise _refused(answer)

    def _post(self, body: bytes, kind: str) -> tuple[int, Mapping[str, str], dict[str, Any]]:
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        connection = kinds[self._place.scheme](self._place.netloc, timeout=self._timeout)
        try:
            # A server that refuses a body may answer, and hang up, before it has taken it all in.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(
                    "POST", f"{self._path}/predict", body, {"Content-Type": kind, **self._headers}
                )
            response = connection.getresponse()
            return response.status, response.headers, _json(response.read(), self._place.netloc)
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self._place.netloc, error) from None
        finally:
            connection.close()


class Stream:
    """Sound on its way to a server, and what it answers. Made by `Client.stream`; not shared by threads."""

    def __init__(
        self, url: str, headers: Mapping[str, str], start: Mapping[str, Any], timeout: float
    ) -> None:
        from websockets.exceptions import InvalidStatus, WebSocketException
        from websockets.sync.client import connect

        self._url, self._timeout = url, timeout
        self._open = ExitStack()
        try:
            self._socket: ClientConnection = self._open.enter_context(
                connect(url, additional_headers=headers, open_timeout=timeout, max_size=None)
            )
        except InvalidStatus as error:  # an answer instead of an upgrade
            raise _refused(_json(error.response.body or b"", url)) from None
        except (OSError, WebSocketException) as error:
            raise _unreachable(url, error) from None
        try:
            self._send(json.dumps(start))
            self._wait("ready")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def feed(self, samples: Any, words: Sequence[Word] = ()) -> list[dict[str, Any]]:
        """Send samples [n], mono in [-1, 1], and the words known by now; the steps answered meanwhile.

        Raises ServerError.
        """
        if words:
            self._send(json.dumps({"type": "words", "words": [asdict(word) for word in words]}))
        values = np.ascontiguousarray(samples, "<f4")
        for first in range(0, len(values), _MESSAGE):
            self._send(values[first : first + _MESSAGE].tobytes())
        steps: list[dict[str, Any]] = []
        while (message := self._next(0)) is not None:
            steps += message.get("segments", [])
        return steps

    def finish(self) -> dict[str, Any]:
        """The answer to everything that was fed, in the shape of `Prediction.to_dict()`; ends the stream.

        Raises ServerError.
        """
        self._send(json.dumps({"type": "finish"}))
        answer: dict[str, Any] = self._wait("final")["prediction"]
        self.close()
        return answer

    def close(self) -> None:
        """Hang up; may be called again."""
        self._open.close()

    def _send(self, message: str | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            self._socket.send(message)
        except ConnectionClosed:
            while self._next(0) is not None:  # what the server said before it hung up
                pass

    def _wait(self, kind: str) -> dict[str, Any]:
        while (message := self._next(self._timeout)) is not None:
            if message["type"] == kind:
                return message
        raise _unreachable(self._url, f"no answer for {self._timeout:g} s")

    def _next(self, timeout: float) -> dict[str, Any] | None:
        """The next message, or None when none comes in time."""
        from websockets.exceptions import ConnectionClosed

        try:
            message: dict[str, Any] = json.loads(self._socket.recv(timeout=timeout))
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            raise _unreachable(self._url, error) from None
        if message["type"] == "error":
            raise _refused(message)
        return message


def _json(body: bytes | bytearray, place: str) -> dict[str, Any]:
    """What a server of affetto says. Raises ServerError where something else answers in its place."""
    try:
        said = json.loads(body)
    except ValueError as error:
        raise _unreachable(place, error) from None
    if not isinstance(said, dict):
        raise _unreachable(place, "it answered no JSON object")
    return said


def _refused(said: Mapping[str, Any]) -> ServerError:
    return ServerError(
        str(said.get("code")),
        str(said.get("message")),
        request_id=said.get("request_id"),
        retryable=said.get("retryable", False),
    )


def _unreachable(place: str, why: object) -> ServerError:
    return ServerError(
        "server_unreachable",
        f"{place} does not answer as affetto does ({why}): is it running there?",
        retryable=True,
    )


def _file(source: Source) -> tuple[str, bytes]:
    """The name and bytes of a file that is given by its path or its bytes."""
    if isinstance(source, bytes):
        return "file", source
    path = Path(source)
    try:
        return path.name, path.read_bytes()
    except FileNotFoundError:
        raise MediaError("media_not_found", f"{path}: no such file") from None
    except OSError as error:
        raise MediaError("media_unreadable", f"{path}: {error.strerror}") from None


def _listed(words: Sequence[Word]) -> bytes:
    return json.dumps([asdict(word) for word in words]).encode()


def _form(fields: Fields, boundary: str) -> bytes:
    """multipart/form-data (RFC 7578), with file names escaped as browsers do."""
    lines = []
    for name, (file, content) in fields.items():
        head = f'Content-Disposition: form-data; name="{name}"'
        if file is not None:
            escaped = file.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
            head += f'; filename="{escaped}"\r\nContent-Type: application/octet-stream'
        lines += [f"--{boundary}\r\n{head}\r\n\r\n".encode(), content, b"\r\n"]
    return b"".join([*lines, f"--{boundary}--\r\n".encode()])
