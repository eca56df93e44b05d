"""The client against a server that keeps to the contract: what it sends, what it gives back, how it fails."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from affetto.errors import ConfigError, MediaError
from affetto.records import Word
from affetto.serving.client import Client, ServerError
from fake_server import KEY, PREDICTION, STEPS, Fake, serving

ROOT = Path(__file__).parents[2]
DOCUMENTED = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def running() -> Iterator[Fake]:
    with serving() as fake:
        yield fake


@pytest.fixture
def server(running: Fake) -> Fake:
    """The running server, as if nothing had been asked of it."""
    fresh = Fake(url=running.url)
    for name, value in vars(fresh).items():
        setattr(running, name, value)
    return running


def test_all_that_is_given_arrives_and_the_answer_comes_back(server: Fake, tmp_path: Path) -> None:
    clip = tmp_path / 'my "call".wav'
    clip.write_bytes(b"RIFF\r\n--\x00\xff")
    answer = Client(server.url).predict(
        clip,
        "né, @file",
        b"\x89PNG",
        words=[Word("né", 0.0, 0.5)],
        timeline=True,
        labels=("happy", "sad"),
        language="en",
    )
    assert answer == PREDICTION.to_dict()
    assert next(iter(answer)) == "emotion"
    (form,) = server.forms
    assert form.pop("audio_file") == ("my %22call%22.wav", b"RIFF\r\n--\x00\xff")
    assert form.pop("image_file") == ("file", b"\x89PNG")
    assert json.loads(form.pop("words")) == [{"text": "né", "start": 0.0, "end": 0.5, "estimated": False}]
    assert form == {"text": "né, @file", "timeline": "true", "labels": "happy,sad", "language": "en"}


def test_what_is_not_given_is_not_sent(server: Fake) -> None:
    Client(server.url + "/").predict(text="")
    assert server.forms == [{"text": ""}]


def test_a_key_opens(server: Fake) -> None:
    server.key = KEY
    with pytest.raises(ServerError, match="wants its key") as caught:
        Client(server.url).predict(text="a")
    assert (caught.value.request_id, caught.value.retryable) == ("r-2", False)
    with pytest.raises(ServerError, match="wants its key"):
        Client(server.url, "other").stream()
    assert Client(server.url, KEY).predict(text="a")["emotion"] == "anger"
    with Client(server.url, KEY).stream():
        pass


def test_a_full_server_is_asked_again_when_it_says_so(server: Fake) -> None:
    for _ in range(2):
        server.fail(503, "queue_full", "later", retryable=True, Retry_After="0")
    assert Client(server.url).predict(text="a")["emotion"] == "anger"
    assert len(server.forms) == 3
    server.fail(429, "queue_full", "later", retryable=True, Retry_After="0")
    with pytest.raises(ServerError, match="later") as caught:
        Client(server.url, retries=0).predict(text="a")
    assert caught.value.retryable
    # Who would have to wait for long decides for himself, and other errors are not asked again.
    server.fail(503, "queue_full", "much later", Retry_After="3600")
    server.fail(400, "audio_corrupt", "broken")
    for message in ("much later", "broken"):
        with pytest.raises(ServerError, match=message):
            Client(server.url).predict(text="a")
    assert len(server.forms) == 6


def test_codes_are_the_servers_where_they_are_known(server: Fake) -> None:
    for code, expected in (("audio_corrupt", "audio_corrupt"), ("of_tomorrow", "server_refused")):
        server.fail(422, code, "no")
        with pytest.raises(ServerError) as caught:
            Client(server.url).predict(text="a")
        assert caught.value.code == expected


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{free.getsockname()[1]}", timeout=5)
        for ask in (lambda: client.predict(text="a"), client.stream):
            with pytest.raises(ServerError, match="is it running there") as caught:
                ask()
            assert caught.value.code == "server_unreachable"
            assert caught.value.retryable


@pytest.mark.parametrize("said", [b"<html>Bad gateway</html>", b"[1]", b""])
def test_something_else_answers(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 502 Bad\r\nContent-Length: %d\r\n\r\n" % len(said) + said)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ServerError) as caught:
            Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=5).predict(text="a")
        thread.join()
    assert caught.value.code == "server_unreachable"


def test_an_answer_that_comes_before_the_body_is_through_is_heard() -> None:
    said = json.dumps({"code": "media_too_large", "message": "too much", "retryable": False}).encode()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 413 No\r\nContent-Length: %d\r\n\r\n" % len(said) + said)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 20):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ServerError, match="too much") as caught:
            Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=5).predict(speech=bytes(8 << 20))
        thread.join()
    assert caught.value.code == "media_too_large"


def test_mistakes_are_told_before_anything_is_sent(tmp_path: Path) -> None:
    for url in ("127.0.0.1:8000", "ftp://host", "http://"):
        with pytest.raises(ConfigError, match="expected http"):
            Client(url)
    with pytest.raises(MediaError, match="no such file"):
        Client("http://127.0.0.1:1").predict(speech=tmp_path / "gone.wav")
    with pytest.raises(MediaError, match="directory"):
        Client("http://127.0.0.1:1").predict(vision=tmp_path)


def test_sound_streams_and_steps_come_back_as_they_close(server: Fake) -> None:
    sound = np.linspace(-1, 1, 40_000)
    with Client(server.url).stream(rate=8000, text="né", labels=["happy", "sad"]) as stream:
        steps = []
        for first in range(0, len(sound), 1000):
            steps += stream.feed(sound[first : first + 1000])
        answer = stream.finish()
    assert np.array_equal(np.frombuffer(server.heard, "<f4"), sound.astype(np.float32))
    assert server.starts == [{"type": "start", "format": "f32le", "rate": 8000, "text": "né", "timeline": True,
                              "labels": ["happy", "sad"], "language": None}]  # fmt: skip
    assert answer == PREDICTION.to_dict()
    # What closes after the last feed stands in the final answer alone.
    assert steps == PREDICTION.to_dict()["segments"][: len(steps)]
    assert len(STEPS) == len(answer["segments"])


def test_long_sound_goes_in_messages_that_a_server_takes(server: Fake) -> None:
    with Client(server.url).stream() as stream:
        stream.feed(np.zeros(300_000, np.float32), words=[Word("a", 0.0, 0.1)])
        stream.finish()
    assert len(server.heard) == 1_200_000


def test_an_error_of_a_stream_is_raised(server: Fake) -> None:
    server.stream_error = {
        "code": "audio_not_finite",
        "message": "NaN",
        "request_id": "r-3",
        "retryable": False,
    }
    stream = Client(server.url).stream()
    stream.feed(np.zeros(10))
    with pytest.raises(ServerError, match="NaN") as caught:
        stream.finish()
    assert caught.value.request_id == "r-3"
    stream.close()


@pytest.mark.parametrize("code", re.findall(r"^```py\n(.*?)^```", DOCUMENTED, re.DOTALL | re.MULTILINE))
def test_the_documented_examples_run(server: Fake, code: str) -> None:
    code = code.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "anger" in done.stdout


def test_the_client_loads_no_server() -> None:
    heavy = {"fastapi", "starlette", "onnxruntime", "websockets"}
    code = f"import sys, affetto.serving.client; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
