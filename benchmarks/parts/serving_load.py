"""Load for `affetto serve`, and what becomes of it: overload, half an hour, live streams, clients side by side.

Run by `benchmarks/serving.py`.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from websockets.sync.client import connect

from serving.running import Running, form, memory, serving, wait_for

TEXT = "Thank you so much"
_EXAMPLE = Path(__file__).parents[2] / "examples" / "call.flac"
_FRAME_SECONDS = 0.1
_STREAMS = (8, 16, 32, 50)
_KEYS = ("the-key-of-who-asks-much", "the-key-of-who-asks-little")


@dataclass(frozen=True)
class Asked:
    """A request: seconds after the begin at which it was due, the status of its answer (0: none came), and the
    milliseconds from then to it."""

    due: float
    status: int
    ms: float


def clip(seconds: float = 3.0) -> bytes:
    """A stretch of the example recording, again and again where it is too short, as 16-bit WAV."""
    samples, rate = soundfile.read(_EXAMPLE)
    file = io.BytesIO()
    soundfile.write(file, np.resize(samples, int(seconds * rate)), rate, format="WAV")
    return file.getvalue()


def family(server: Running) -> list[int]:
    """The processes of a server."""
    return [server.process.pid, *server.workers(), *server.decoders()]


# --- more than it can answer, and less ---


def overload(seconds: float = 60.0) -> dict[str, Any]:
    """Open-loop load of four times the capacity: what still gets through, and how fast the rest is refused.

    The peak is the mean of what was reached before and after, since the speed of the machine itself changes."""
    body, headers = form(audio_file=clip(), text=TEXT)
    with serving() as server:
        before = _closed_loop(server, body, headers, 1, 5.0)
        capacity = len(_closed_loop(server, body, headers, 2, 8.0)) / 8.0
        asked, live = _open_loop(server, body, headers, 4 * capacity, seconds)
        time.sleep(2.0)
        after = _closed_loop(server, body, headers, 1, 5.0)
        capacity = (capacity + len(_closed_loop(server, body, headers, 2, 8.0)) / 8.0) / 2
    accepted = [one.ms for one in asked if one.status == 200]
    refused = [one.ms for one in asked if one.status not in (0, 200)]
    return {
        "peak_per_second": round(capacity, 1),
        "goodput_of_peak": round(len(accepted) / seconds / capacity, 2),
        "refused": len(refused),
        "unanswered": sum(one.status == 0 for one in asked),
        "refusal_ms_p50_p99": _percentiles(refused),
        "accepted_ms_p50_p99": _percentiles(accepted),
        "live_ms_p50_p99": _percentiles(live),
        "p50_ratio_2_s_later": round(statistics.median(after) / statistics.median(before), 2),
    }


def sustained(seconds: float) -> dict[str, Any]:
    """Open-loop load of 70 % of the capacity: faults, and p99 of the last sixth over that of the first."""
    body, headers = form(audio_file=clip(), text=TEXT)
    with serving() as server:
        capacity = len(_closed_loop(server, body, headers, 2, 8.0)) / 8.0
        asked, live = _open_loop(server, body, headers, 0.7 * capacity, seconds)
    ends = [[one.ms for one in asked if part(one.due / seconds)] for part in (_is_first, _is_last)]
    first, last = (float(np.percentile(times, 99)) for times in ends)
    statuses = sorted({one.status for one in asked})
    return {
        "minutes": round(seconds / 60, 1),
        "requests": len(asked),
        "by_status": {status: sum(one.status == status for one in asked) for status in statuses},
        "p99_ms_first_and_last_sixth": [round(first, 1), round(last, 1)],
        "p99_ratio": round(last / first, 2),
        "live_ms_p50_p99": _percentiles(live),
    }


def _is_first(share: float) -> bool:
    return share < 1 / 6


def _is_last(share: float) -> bool:
    return share >= 5 / 6


# --- streams ---


def streams(seconds: float = 20.0) -> dict[str, Any]:
    """Live streams, frames of 100 ms as they come from microphones: milliseconds from the frame that closes a
    step to its answer, and MiB per stream; then MiB of 200 sockets on which nothing is said."""
    found: dict[str, Any] = {f"{count} streams": _side_by_side(count, seconds) for count in _STREAMS}
    with serving() as server:
        before = memory(server.process.pid)
        idle = [connect(f"ws://127.0.0.1:{server.port}/stream") for _ in range(200)]
        found["MiB of 200 idle sockets"] = round(memory(server.process.pid) - before, 1)
        for socket in idle:
            socket.close()
    return found


def _side_by_side(count: int, seconds: float) -> dict[str, Any]:
    said: list[float] = []
    codes: list[str] = []
    sizes: list[float] = []

    def weigh() -> None:
        time.sleep(0.9 * seconds)
        sizes.append(sum(map(memory, family(server))))

    with serving("--workers", "2") as server:
        wait_for(lambda: server.metric("affetto_workers") == 2, 30, "both workers")
        before = sum(map(memory, family(server)))
        talks = [partial(_talk, server, at / count, seconds, said, codes) for at in range(count)]
        _together([*talks, weigh])
    return {
        "ms_p50_p99": _percentiles(said),
        "MiB_per_stream": round((sizes[0] - before) / count, 2),
        "refused": {code: codes.count(code) for code in sorted({*codes})},
    }


def _talk(server: Running, offset: float, seconds: float, said: list[float], codes: list[str]) -> None:
    """One stream in real time, `offset` of a frame after the others. Adds milliseconds to `said`, or a code."""
    samples, rate = soundfile.read(_EXAMPLE, dtype="int16")
    size = int(rate * _FRAME_SECONDS)
    with connect(f"ws://127.0.0.1:{server.port}/stream") as socket:
        socket.send(json.dumps({"type": "start", "rate": rate}))
        ready = json.loads(socket.recv(30))
        if ready["type"] != "ready":
            codes.append(ready["code"])
            return
        begin = time.monotonic() + offset * _FRAME_SECONDS
        reader = threading.Thread(target=_listen, args=(socket, begin, said))
        reader.start()
        for number in range(int(seconds / _FRAME_SECONDS)):
            time.sleep(max(begin + (number + 1) * _FRAME_SECONDS - time.monotonic(), 0))
            socket.send(np.roll(samples, -number * size)[:size].tobytes())
        socket.send('{"type": "finish"}')
        reader.join()


def _listen(socket: Any, begin: float, said: list[float]) -> None:
    """Steps come with the seconds of sound that had come by then: when these were spoken is known."""
    while (message := json.loads(socket.recv(60)))["type"] == "segments":
        said.append(1000 * (time.monotonic() - begin - message["seconds"]))


# --- clients side by side ---


def fairness(seconds: float = 15.0) -> dict[str, Any]:
    """p99 of a client beside one that asks ten times as much, over p99 alone; and of one with clips of a second
    beside one with clips of thirty."""
    return {
        "ten times the requests": _p99_beside(clip(1.0), 10, seconds),
        "clips of 30 s": _p99_beside(clip(30.0), 1, seconds),
    }


def _p99_beside(other: bytes, clients: int, seconds: float) -> dict[str, Any]:
    beside: list[float] = []
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as keys:
        print(*_KEYS, sep="\n", file=keys, flush=True)
        with serving("--workers", "2", "--api-key-file", keys.name) as server:
            ready = lambda: server.ask("GET", "/health/ready").json()["workers"] == 2  # noqa: E731
            wait_for(ready, 30, "both workers")
            little, much = _load(clip(1.0), _KEYS[1]), _load(other, _KEYS[0])
            alone = _closed_loop(server, *little, 1, seconds)
            _together([
                lambda: beside.extend(_closed_loop(server, *little, 1, seconds)),
                lambda: _closed_loop(server, *much, clients, seconds),
            ])  # fmt: skip
    p99 = [float(np.percentile(times, 99)) for times in (alone, beside)]
    return {"p99_ms": [round(ms, 1) for ms in p99], "ratio": round(p99[1] / p99[0], 2)}


def _load(data: bytes, key: str) -> tuple[bytes, dict[str, str]]:
    body, headers = form(audio_file=data, text=TEXT)
    return body, {**headers, "Authorization": f"Bearer {key}"}


# --- sending ---


def _closed_loop(server: Running, body: bytes, headers: Any, clients: int, seconds: float) -> list[float]:
    """Milliseconds of the answers that `clients` get who ask again as soon as they are answered."""
    times: list[float] = []
    until = time.monotonic() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        while time.monotonic() < until:
            began = time.perf_counter()
            connection.request("POST", "/predict", body, headers)
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                times.append(1000 * (time.perf_counter() - began))
        connection.close()

    _together([client] * clients)
    return times


def _open_loop(
    server: Running, body: bytes, headers: Any, rate: float, seconds: float, clients: int = 64
) -> tuple[list[Asked], list[float]]:
    """Requests at a constant rate of arrivals, and milliseconds of /health/live beside them. Each is timed from
    the moment at which it was due, so that a slow answer hides no later one."""
    asked: list[Asked] = []
    live: list[float] = []
    begin, tickets, lock = time.monotonic() + 0.2, iter(range(int(rate * seconds))), threading.Lock()
    lines = {"Host": "127.0.0.1", "Content-Length": len(body), **headers}
    head = ["POST /predict HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), "", ""]
    request = "\r\n".join(head).encode() + body

    def client() -> None:
        connection: socket.socket | None = None
        while True:
            with lock:
                ticket = next(tickets, None)
            if ticket is None:
                break
            due = ticket / rate
            time.sleep(max(begin + due - time.monotonic(), 0))
            status = 0
            try:
                connection = connection or server.connect()
                status = _exchange(connection, request)
            except OSError:
                connection = None
            asked.append(Asked(due, status, 1000 * (time.monotonic() - begin - due)))
        if connection is not None:
            connection.close()

    def probe() -> None:
        while time.monotonic() < begin + seconds:
            began = time.monotonic()
            server.ask("GET", "/health/live")
            live.append(1000 * (time.monotonic() - began))
            time.sleep(0.1)

    _together([*[client] * clients, probe])
    return asked, live


def _exchange(connection: socket.socket, request: bytes) -> int:
    """The status of the answer to a request. Bare, since who sends shares the processor with who answers.

    Raises OSError when the connection ends first."""
    connection.sendall(request)
    answer = b""
    while (head := answer.find(b"\r\n\r\n")) < 0 or len(answer) < head + 4 + _length(answer[:head]):
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError("the server ended the connection")
        answer += piece
    return int(answer[9:12])


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    assert found is not None, head
    return int(found[1])


def _together(work: list[Callable[[], Any]]) -> None:
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _percentiles(values: list[float]) -> list[float]:
    return [round(float(np.percentile(values, q)), 1) for q in (50, 99)] if values else []
