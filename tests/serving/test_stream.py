"""`WS /stream`: what is said in which order, and that it equals the answer to the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
from starlette.websockets import WebSocket

from affetto.predictor import Predictor
from serving.bad_inputs import encode as wav_bytes
from serving.running import wait_for
from sounds import voice_like


def talk(client, samples: bytes, size: int, **start):
    """(messages, of all segments the sum) of a stream in pieces of `size` bytes."""
    with client.websocket_connect("/stream") as socket:
        socket.send_json({"type": "start", **start})
        said = [socket.receive_json()]
        for at in range(0, len(samples), size):
            socket.send_bytes(samples[at : at + size])
        socket.send_json({"type": "finish"})
        while said[-1]["type"] != "final":
            said.append(socket.receive_json())
    return said


@pytest.mark.parametrize("size", [320, 7_000, 200_000])
def test_segments_come_as_they_close_and_the_answer_is_that_of_the_file(client, plain_bundle, size):
    samples = (voice_like(5.0) * 20_000).astype("<i2")
    ready, *segments, final = talk(client(), samples.tobytes(), size, text="happy")
    assert ready["type"] == "ready"
    assert ready["hop"] == 0.5
    assert {message["type"] for message in segments} == {"segments"}
    whole = Predictor(plain_bundle).predict(speech=wav_bytes(samples), text="happy", timeline=True).to_dict()
    for name in ("emotion", "probabilities", "segments", "spans", "words", "duration"):
        assert final["prediction"][name] == whole[name], name
    starts = [segment["start"] for message in segments for segment in message["segments"]]
    assert starts == sorted(set(starts))
    assert segments[-1]["seconds"] <= 5.0


def test_floats_and_integers_agree(client):
    one, samples = client(), (voice_like(2.0) * 20_000).astype("<i2")
    integers = talk(one, samples.tobytes(), 3200)[-1]["prediction"]["probabilities"]
    floats = (samples / np.float32(32768)).astype("<f4").tobytes()
    assert talk(one, floats, 6400, format="f32le")[-1]["prediction"]["probabilities"] == integers


def test_other_rates_are_resampled(client):
    rate = 44_100
    tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(3 * rate) / rate)
    final = talk(client(), (tone * 32767).astype("<i2").tobytes(), 8820, rate=rate)[-1]
    assert final["prediction"]["duration"] == pytest.approx(3.0, abs=0.01)


def test_words_and_labels(client):
    with client().websocket_connect("/stream") as socket:
        word = {"text": "gloomy", "start": 0.4, "end": 0.9}
        socket.send_json({"type": "start", "labels": ["sad", "happy"], "file": "/a/b/live.wav"})
        assert socket.receive_json()["type"] == "ready"
        socket.send_json({"type": "words", "words": [word]})
        socket.send_bytes((voice_like(1.5) * 20_000).astype("<i2").tobytes())
        socket.send_json({"type": "finish"})
        final = socket.receive_json()["prediction"]
    assert [said["text"] for said in final["words"]] == ["gloomy"]
    assert set(final["probabilities"]) == {"sadness", "happiness"}
    assert final["file"] == "live.wav"


def test_without_a_timeline(client):
    samples = (voice_like(3.0) * 20_000).astype("<i2").tobytes()
    assert [message["type"] for message in talk(client(), samples, 3200, timeline=False)] == [
        "ready",
        "final",
    ]


def test_a_client_that_leaves_is_forgotten(client):
    one = client()
    for _ in range(5):
        with one.websocket_connect("/stream") as socket:
            socket.send_json({"type": "start"})
            socket.receive_json()
            socket.send_bytes(bytes(3200))
    state = one.app.state.server
    wait_for(lambda: not state.streams and state.pool.busy == 0, 5, "the streams to end")
    assert all(member.streams == 0 for member in state.pool._members)


def test_a_stream_that_closed_while_it_was_answered_is_no_fault(client, monkeypatch):
    """Where the protocol has closed it, say for a message too long, uvicorn refuses to send."""

    async def refuse(*_: object) -> None:
        raise RuntimeError("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'.")

    one = client()
    monkeypatch.setattr(WebSocket, "send_text", refuse)
    with one.websocket_connect("/stream") as socket:
        socket.send_json({"type": "start"})
        metrics = one.app.state.server.metrics
        wait_for(lambda: b'code="client_gone",route="/stream"' in metrics.text(), 5, "it to be counted")
    assert b'code="internal"' not in metrics.text()


def test_an_error_has_the_body_of_every_error(client):
    with client().websocket_connect("/stream", headers={"X-Request-Id": "mine"}) as socket:
        socket.send_text("no")
        said = json.loads(socket.receive_text())
    assert set(said) == {"type", "code", "message", "request_id", "retryable"}
    assert said["request_id"] == "mine"
