"""Connections that are slow, many or broken off, against a server whose limits are short."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from affetto.predictor import Predictor
from affetto.serving import create_app
from affetto.serving.answering import Decoding
from affetto.serving.limits import Limits
from affetto.serving.protocol import make_config
from serving.running import code_of, form, read_response, wait_for

SHORT = replace(
    Limits(),
    header_seconds=0.4,
    idle_seconds=0.4,
    write_seconds=0.5,
    body_bytes=2**20,
    buffered_bytes=3 * 2**19,
    stream_idle_seconds=0.4,
    start_seconds=0.4,
    ping_seconds=0.4,
    answer_seconds=2.0,
    stream_seconds=3.0,
    streams=1,
)
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Local:
    """A server in a thread of this process."""

    def __init__(self, app, limits: Limits, connections: int) -> None:
        self.state = app.state.server
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._server = uvicorn.Server(make_config(app, limits, connections))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()
        wait_for(lambda: self.state.pool.live, 10, "a worker")

    def connect(self, data: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(data)
        return connection

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@pytest.fixture(scope="module")
def local(plain_bundle, decoder) -> Iterator[Local]:
    predictor = Predictor(plain_bundle, decoder=Decoding(decoder, SHORT))
    server = Local(create_app(predictor, limits=SHORT), SHORT, connections=20)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def nothing_is_left(local) -> Iterator[None]:
    yield
    wait_for(lambda: local.state.budget.bytes == 0 and local.state.pool.busy == 0, 5, "everything to end")
    answer = HTTPConnection("127.0.0.1", local.port, timeout=10)
    answer.request("GET", "/health/ready")
    assert answer.getresponse().status == 200
    answer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /lab", b"GET /labels HTTP/1.1\r\nHost: loc"])
def test_slow_headers(local, sent):
    began = time.monotonic()
    with local.connect(sent) as connection:
        assert code_of(read_response(connection)) == "request_timeout"
    assert time.monotonic() - began < 3


def test_slow_headers_of_a_second_request(local):
    with local.connect(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
        assert code_of(read_response(connection)) == "ok"
        connection.sendall(b"GET /lab")
        assert code_of(read_response(connection)) == "request_timeout"


def test_a_body_that_stops(local):
    with local.connect(HEAD + b"Content-Length: 100\r\n\r\n{") as connection:
        assert code_of(read_response(connection)) == "request_timeout"


def test_a_body_byte_by_byte(local):
    began = time.monotonic()
    with local.connect(HEAD + b"Content-Length: 1000\r\n\r\n") as connection:
        with suppress(OSError):
            for _ in range(100):
                connection.sendall(b" ")
                time.sleep(0.05)
                if time.monotonic() - began > 1.5:
                    break
        assert code_of(read_response(connection)) == "request_timeout"


def test_a_body_that_is_too_long_is_told_before_it_is_read(local):
    with local.connect(HEAD + b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n") as connection:
        answer = read_response(connection)
    assert answer.startswith(b"HTTP/1.1 413")
    assert code_of(answer) == "body_too_large"


def test_a_client_that_goes_on_sending_after_a_refusal_is_cut_off(local):
    with local.connect(HEAD + b"Transfer-Encoding: chunked\r\n\r\n") as connection, pytest.raises(OSError):
        for _ in range(200):
            connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            time.sleep(0.02)


def test_200_000_tiny_chunks(local):
    before = time.process_time()
    with local.connect(HEAD + b"Transfer-Encoding: chunked\r\n\r\n") as connection:
        with suppress(OSError):
            for _ in range(100):
                connection.sendall(b"1\r\n \r\n" * 2000)
            connection.sendall(b"0\r\n\r\n")
        assert code_of(read_response(connection)) == "body_invalid"
    assert time.process_time() - before < 1


def test_a_client_that_does_not_read_is_cut_off(local):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", local.port))
    before = len(_established(local.port))
    with pytest.raises(OSError):
        for _ in range(20_000):
            connection.settimeout(5)
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
    connection.close()
    wait_for(lambda: len(_established(local.port)) < before + 1, 5, "the connection to end")


def test_too_many_connections_are_told_so(local):
    connections = [local.connect() for _ in range(20)]
    with local.connect() as one_more:
        answer = read_response(one_more)
    assert code_of(answer) == "connections_full"
    assert b"retry-after: 1" in answer
    for connection in connections:
        connection.close()
    wait_for(lambda: not _established(local.port), 5, "the connections to end")


def test_too_many_bytes_of_uploads_are_told_so(local):
    body, headers = form(audio_file=bytes(2**20 - 2000))
    head = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
        + f"Content-Type: {headers['Content-Type']}\r\n".encode()
    )
    head += f"Content-Length: {len(body)}\r\n\r\n".encode()
    with local.connect(head + body[:-10]) as first, local.connect(head + body[:-10]) as second:
        codes = {code_of(read_response(connection)) for connection in (first, second)}
    assert "connections_full" in codes


@pytest.mark.parametrize("moment", ["headers", "body", "answer"])
def test_clients_that_leave(local, clip, moment):
    body, headers = form(audio_file=clip)
    head = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
        + f"Content-Type: {headers['Content-Type']}\r\n".encode()
    )
    whole = head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    cut = {"headers": 40, "body": len(whole) // 2, "answer": len(whole)}[moment]
    for _ in range(10):
        local.connect(whole[:cut]).close()
    wait_for(lambda: not _established(local.port), 5, "the connections to end")


def test_a_hundred_that_leave_are_counted_and_leave_nothing(local):
    before = _counts(local)["client_gone"]
    for _ in range(10):
        connections = [local.connect(HEAD + b"Content-Length: 100\r\n\r\n{") for _ in range(10)]
        wait_for(lambda: local.state.budget.bytes >= 10, 5, "the bodies to begin")
        for connection in connections:
            connection.close()
        wait_for(lambda: local.state.budget.bytes == 0, 5, "the bodies to be let go")
    wait_for(lambda: _counts(local)["client_gone"] == before + 100, 10, "them to be counted")
    wait_for(lambda: not _established(local.port), 5, "the connections to end")


def test_streams_that_stall_are_closed(local):
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    for messages in ((), ('{"type": "start"}',)):
        with connect(f"ws://127.0.0.1:{local.port}/stream") as stream:
            for message in messages:
                stream.send(message)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    stream.recv(10)
        assert closed.value.rcvd.code == 1008


UPGRADE = (
    b"GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
START = b"\x81\x91" + bytes(4) + b'{"type": "start"}'


@contextmanager
def bare_stream(local: Local) -> Iterator[socket.socket]:
    """A stream that has begun, of a client who does nothing by itself."""
    with local.connect(UPGRADE) as connection:
        assert b"101" in connection.recv(1000)
        connection.sendall(START)
        assert b"ready" in connection.recv(1000)
        yield connection


FRAME = b"\x82\xfe\x03\xe8" + bytes(4) + bytes(1000)  # binary, masked, 1,000 bytes


def test_a_stream_that_breaks_off_in_the_middle_of_a_message(local):
    for cut in (0, 1, 3, 5, 100):
        with bare_stream(local) as connection:
            connection.sendall(FRAME[:cut])
        wait_for(lambda: not local.state.streams, 5, "the stream to end")


def test_a_stream_whose_client_answers_no_ping_is_closed(local):
    """It sends sound all the time, and perhaps nobody is behind it any more."""
    said = b""
    with bare_stream(local) as connection:
        connection.settimeout(0.2)
        until = time.monotonic() + 8  # of sound that is less than the longest stream
        while time.monotonic() < until and b"\x03\xf3" not in said:  # 1011, the code of uvicorn for it
            with suppress(OSError):
                connection.sendall(FRAME)
            with suppress(TimeoutError, ConnectionResetError):
                said += connection.recv(1000)
    assert b"\x89" in said  # a ping
    assert b"\x03\xf3" in said
    wait_for(lambda: not local.state.streams, 5, "the stream to end")


def test_thousands_of_tiny_messages_are_one_recording(local):
    import json

    from websockets.sync.client import connect

    sound = (0.3 * 32767 * np.sin(np.arange(8000) / 20)).astype("<i2").tobytes()
    said = []
    for size in (len(sound), 4):
        with connect(f"ws://127.0.0.1:{local.port}/stream") as stream:
            stream.send('{"type": "start", "timeline": false}')
            for at in range(0, len(sound), size):
                stream.send(sound[at : at + size])
            stream.send('{"type": "finish"}')
            stream.recv(10)
            said.append(json.loads(stream.recv(30))["prediction"]["probabilities"])
    assert said[0] == said[1]


def test_a_stream_too_many_and_one_too_long(local):
    import json

    from websockets.sync.client import connect

    address = f"ws://127.0.0.1:{local.port}/stream"
    with connect(address) as first:
        first.send('{"type": "start"}')
        assert json.loads(first.recv(10))["type"] == "ready"
        with connect(address) as second:
            second.send('{"type": "start"}')
            assert json.loads(second.recv(10))["code"] == "streams_full"
        for _ in range(4):
            first.send(bytes(32_000))
        said = [json.loads(first.recv(10)) for _ in range(1)]
        while said[-1]["type"] == "segments":
            said.append(json.loads(first.recv(10)))
        assert said[-1]["code"] == "stream_too_long"


def test_every_request_is_counted_once(local, clip):
    """What clients were told is what the metrics say, also of what no route saw."""
    body, headers = form(audio_file=clip, text="happy")
    kind = f"Content-Type: {headers['Content-Type']}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    start = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
    requests = [
        start + kind + body,
        b"POST /predict?text=happy HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /labels HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PUT /predict HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /lab",  # too slow
        b"GET\r\n\r\n",
        b"GET /labels HTTP/1.1\r\nX: " + bytes([65]) * 2**17 + b"\r\n\r\n",
        HEAD + b"Content-Length: 99999999\r\n\r\n",
        HEAD + b"Content-Length: 3\r\n\r\n{}x",
        HEAD + b"Content-Length: 100\r\n\r\n{",  # too slow
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 20_000,
        b"GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ]
    time.sleep(0.1)  # a request is counted when it has been answered, the last one of the test before too
    before, told = _counts(local), Counter()
    for request in requests * 2:
        with local.connect() as connection:
            with suppress(OSError):
                connection.sendall(request)
            told[code_of(read_response(connection))] += 1
    wait_for(lambda: (_counts(local) - before).total() == 2 * len(requests), 5, "all to be counted")
    assert _counts(local) - before == told
    assert len(told) >= 8
    lines = local.state.metrics.text().decode().splitlines()
    assert sum(not line.startswith("#") for line in lines) <= 200  # series
    for stage in ("queue", "work", "decode", "model", "total"):
        assert any(line.startswith(f'affetto_stage_seconds_count{{stage="{stage}"}}') for line in lines)


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_time_of_day_jumps(local, monkeypatch, hours):
    """In the middle of headers, of a body and of a stream: what is timed is timed by another clock."""
    from websockets.sync.client import connect

    jumped = time.time
    with (
        local.connect(b"GET /lab") as first,
        local.connect(HEAD + b"Content-Length: 17\r\n\r\n") as second,
        connect(f"ws://127.0.0.1:{local.port}/stream") as stream,
    ):
        stream.send('{"type": "start"}')
        stream.recv(10)
        monkeypatch.setattr(time, "time", lambda: jumped() + 3600 * hours)
        first.sendall(b"els HTTP/1.1\r\nHost: localhost\r\n\r\n")
        second.sendall(b'{"text": "happy"}')
        assert code_of(read_response(first)) == code_of(read_response(second)) == "ok"
        stream.send(np.ones(16_000, "<i2").tobytes())
        stream.send('{"type": "finish"}')
        assert '"final"' in stream.recv(10)


def _counts(local: Local) -> Counter[str]:
    """Requests by code, of all routes."""
    text = local.state.metrics.text().decode()
    found: Counter[str] = Counter()
    for code, count in re.findall(r'^affetto_requests_total\{code="(\w+)".*\} (\S+)$', text, re.MULTILINE):
        found[code] += int(float(count))
    return found


def _established(port: int) -> list[str]:
    """Connections that this process holds at a port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    wanted = f":{port:04X}"
    return [line for line in lines if line.split()[1].endswith(wanted) and line.split()[3] == "01"]
