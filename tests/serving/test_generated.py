"""Inputs by the thousand: from the description of the API, from damaged media, from a grammar of requests.

None may crash a process, be answered with a 500, or hang. `pytest -m slow`.
"""

from __future__ import annotations

import itertools
import random
import socket
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from serving.bad_inputs import encode, picture, tone
from serving.running import Running, form, read_response, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def unharmed(plain: Running):
    wait_for(plain.is_ready, 30, "the server")
    before = plain.workers()
    yield
    assert plain.process.poll() is None
    assert plain.workers() == before
    assert plain.metric("affetto_buffered_bytes") == 0
    assert plain.predict(text="happy").json()["emotion"] == "happiness"


def damaged(seed: bytes, rng: random.Random) -> bytes:
    """A file with flipped bits, a cut, a splice, or a length that lies."""
    data = bytearray(seed)
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.randint(1, 20)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[rng.randrange(1, len(data)) :]
    elif kind == 2:
        at, size = rng.randrange(len(data)), rng.randint(1, 200)
        data[at : at + size] = rng.randbytes(rng.randint(0, 200))
    else:
        at = rng.randrange(min(len(data), 60))
        data[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x80\0\0\0"])
    return bytes(data)


def test_3000_damaged_files(plain: Running):
    rng, seen = random.Random(0), Counter()
    voice = tone(0.5) + np.float32(0.01)
    sounds = [
        encode(voice), encode(voice, subtype="FLOAT"), encode(voice, format="FLAC"),
        encode(voice, format="OGG", subtype="VORBIS"), encode(voice, format="MP3", subtype="MPEG_LAYER_III"),
        encode(np.repeat(voice, 2, axis=1), 44_100, subtype="PCM_24"),
    ]  # fmt: skip
    pictures = [picture(format) for format in ("PNG", "JPEG", "WEBP")]
    seeds = [("audio_file", seed) for seed in sounds] + [("image_file", seed) for seed in pictures]
    for number in range(3000):
        name, seed = seeds[number % len(seeds)]
        answer = plain.predict(**{name: damaged(seed, rng)})
        assert answer.status not in (500, 503, 504), (number, answer.body)
        seen[answer.code] += 1
    assert len(seen) >= 8, seen


def requests(rng: random.Random) -> bytes:
    """A request put together from good parts and bad ones."""
    line = rng.choice(
        ["GET /labels", "POST /predict", "POST /v1/predict", "OPTIONS *", "GET //", "get /", "POST /stream"]
    )
    version = rng.choice(["HTTP/1.1"] * 6 + ["HTTP/1.0", "HTTP/2.0", "http/1.1", ""])
    body = rng.choice(
        [
            b"",
            b"{}",
            b'{"text": "happy"}',
            rng.randbytes(rng.randint(1, 300)),
            b"0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
        ]
    )
    headers = ["Host: localhost"] * rng.choice([1, 1, 1, 1, 0, 2])
    headers += rng.sample(
        [
            f"Content-Length: {len(body)}", f"Content-Length: {rng.choice([0, 1, -1, 10**30, 7])}",
            "Content-Type: application/json", "Content-Type: multipart/form-data; boundary=x", "Content-Type: ;",
            "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Connection: close", "Connection: upgrade",
            "Upgrade: websocket", "Upgrade: h2c", "Expect: 100-continue", "X-Request-Id: " + "a" * 70, "A:", ": a",
            "Content-Encoding: gzip", "Origin: null", "X: \x00", "Content-Length : 3", " folded",
            "Authorization: Bearer",
        ],
        rng.randint(0, 6),
    )  # fmt: skip
    end = rng.choice(["\r\n"] * 8 + ["\n", "\r"])
    return (
        f"{line} {version}{end}".encode()
        + "".join(f"{h}{end}" for h in headers).encode()
        + end.encode()
        + body
    )


def test_2000_requests_of_a_grammar(plain: Running):
    rng = random.Random(1)
    for _ in range(2000):
        data = requests(rng)
        with plain.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = read_response(connection, 5.0)
        assert not answer.startswith(b"HTTP/1.1 500"), data
        assert answer == b"" or answer.startswith(b"HTTP/1."), data


def test_the_description_against_the_server(plain: Running):
    """Schemathesis: what the description allows is answered as it says, what it forbids is refused."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{plain.port}/openapi.json")
    checks = [content_type_conformance, response_schema_conformance, status_code_conformance]
    count = itertools.count(1)
    for result in schema.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=300, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def run(case) -> None:
            next(count)
            response = case.call()
            assert response.status_code != 500  # 504 is what a timeout_ms of 1 is for
            case.validate_response(response, checks=checks)

        run()
    assert next(count) > 1000


def test_nothing_is_written(plain: Running, tmp_path: Path):
    """No process of the server holds a file that it could write to, whatever was uploaded."""
    body, headers = form(audio_file=encode(tone(20.0), 48_000, subtype="FLOAT"))
    assert plain.ask("POST", "/predict", body, headers).code == "ok"
    for pid in (plain.process.pid, *plain.workers(), *plain.decoders()):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = str(link.readlink())
            assert not target.startswith(("/tmp", "/var")), target
