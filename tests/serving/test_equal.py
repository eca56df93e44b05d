"""One clip, five ways in: the same probabilities to 1e-6, with the shipped bundle."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from websockets.sync.client import connect

import affetto
from affetto.media import decode_audio
from serving.running import SOURCE, serving

TEXT = "Thank you so much, that is wonderful news!"
EXAMPLES = SOURCE.parent / "examples"


@pytest.fixture(scope="module")
def default():
    with serving() as server:
        yield server


@pytest.mark.parametrize("name", ["thanks.flac", "goodbye.flac", "call.flac"])
def test_http_stream_oip_command_and_python_agree(default, name):
    path = EXAMPLES / name
    python = affetto.load().predict(speech=str(path), text=TEXT, timeline=True)
    found = {
        "http": default.predict(audio_file=path.read_bytes(), text=TEXT).json()["probabilities"],
        "timeline": default.predict(audio_file=path.read_bytes(), text=TEXT, timeline="true").json()[
            "probabilities"
        ],
        "stream": _stream(default, path)["probabilities"],
        "oip, binary": _oip(default, path),
        "oip, waveform": _oip_waveform(default, path),
        "command": _command(path)["probabilities"],
    }
    wanted = np.array(list(python.probabilities.values()))
    for way, probabilities in found.items():
        assert list(probabilities) == list(python.probabilities), way
        assert np.abs(np.array(list(probabilities.values())) - wanted).max() <= 1e-6, way


def _stream(server, path) -> dict:
    samples = decode_audio(path).astype("<f4")
    with connect(f"ws://127.0.0.1:{server.port}/stream") as socket:
        socket.send(json.dumps({"type": "start", "format": "f32le", "text": TEXT}))
        for at in range(0, len(samples), 1600):
            socket.send(samples[at : at + 1600].tobytes())
        socket.send('{"type": "finish"}')
        while True:
            said = json.loads(socket.recv(30))
            if said["type"] == "final":
                return said["prediction"]


def _oip(server, path) -> dict:
    """As Triton's client sends it: binary tensors in, binary tensors out."""
    blobs = [path.read_bytes(), TEXT.encode()]
    packed = [struct.pack("<I", len(blob)) + blob for blob in blobs]
    inputs = [
        {"name": name, "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
        for name, data in zip(("audio", "text"), packed, strict=True)
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = server.ask("POST", "/v2/models/default/infer", head + b"".join(packed), headers)
    assert answer.status == 200, answer.body
    length = int(answer.headers["inference-header-content-length"])
    described, at = json.loads(answer.body[:length]), length
    for output in described["outputs"]:
        size = output["parameters"]["binary_data_size"]
        if output["name"] == "answer":
            return json.loads(answer.body[at + 4 : at + size])["probabilities"]
        at += size
    raise AssertionError("no answer")


def _oip_waveform(server, path) -> dict:
    samples = decode_audio(path)
    inputs = [
        {"name": "waveform", "datatype": "FP32", "shape": [1, len(samples)], "data": samples.tolist()},
        {"name": "text", "datatype": "BYTES", "shape": [1], "data": [TEXT]},
    ]
    body = json.dumps({"inputs": inputs, "outputs": [{"name": "probabilities"}]}).encode()
    answer = server.ask("POST", "/v2/models/default/infer", body, {"Content-Type": "application/json"})
    labels = server.ask("GET", "/labels").json()["labels"]
    return dict(zip(labels, answer.json()["outputs"][0]["data"], strict=True))


def _command(path) -> dict:
    command = [sys.executable, "-m", "affetto", "predict", str(path), "--text", TEXT, "--json"]
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60, env=env).stdout)
