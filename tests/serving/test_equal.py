"""One clip, five ways in: the same probabilities to 1e-6, with the shipped bundle."""

from __future__ import annotations

import csv
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from websockets.sync.client import connect

import affetto
from affetto.media import decode_audio
from serving.running import SOURCE, Running, serving
from sounds import voice_like

TEXTS = ("Thank you so much, that is wonderful news!", "Leave me alone!", "It rained all day.")
EXAMPLES = SOURCE.parent / "examples"

#: A recording and its text to its probabilities by their labels.
Way = Callable[[Running, Path, str], dict[str, float]]


@pytest.fixture(scope="module")
def default() -> Iterator[Running]:
    with serving() as server:
        yield server


def test_http_stream_oip_command_and_python_agree(default: Running, tmp_path: Path) -> None:
    ways = {
        "http": _http,
        "http, timeline": _timeline,
        "stream": _stream,
        "oip, binary": _oip,
        "oip, waveform": _oip_waveform,
    }
    _check([EXAMPLES / f"{name}.flac" for name in ("thanks", "goodbye", "call")], default, ways, tmp_path)


@pytest.mark.slow
def test_they_agree_on_500_clips(default: Running, tmp_path: Path) -> None:
    rng, paths = np.random.default_rng(0), []
    for number in range(500):
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], voice_like(float(rng.uniform(0.5, 2.0)), seed=number), 16_000)
    _check(paths, default, {"http": _http, "stream": _stream, "oip": _oip}, tmp_path)


def _check(paths: Sequence[Path], server: Running, ways: dict[str, Way], folder: Path) -> None:
    """That each way gives what the library gives, and the command too."""
    predictor = affetto.load()
    items = [(path, TEXTS[number % len(TEXTS)]) for number, path in enumerate(paths)]
    for (path, text), command in zip(items, _command(items, folder), strict=True):
        wanted = predictor.predict(speech=str(path), text=text).probabilities
        found = {name: way(server, path, text) for name, way in ways.items()} | {"command": command}
        for name, probabilities in found.items():
            assert list(probabilities) == list(wanted), (name, path)
            values, expected = (np.array(list(each.values())) for each in (probabilities, wanted))
            assert np.abs(values - expected).max() <= 1e-6, (name, path)
            assert values.argmax() == expected.argmax(), (name, path)


def _http(server: Running, path: Path, text: str) -> dict[str, float]:
    return server.predict(audio_file=path.read_bytes(), text=text).json()["probabilities"]


def _timeline(server: Running, path: Path, text: str) -> dict[str, float]:
    return server.predict(audio_file=path.read_bytes(), text=text, timeline="true").json()["probabilities"]


def _stream(server: Running, path: Path, text: str) -> dict[str, float]:
    samples = decode_audio(path).astype("<f4")
    with connect(f"ws://127.0.0.1:{server.port}/stream") as socket:
        socket.send(json.dumps({"type": "start", "format": "f32le", "text": text}))
        for at in range(0, len(samples), 1600):
            socket.send(samples[at : at + 1600].tobytes())
        socket.send('{"type": "finish"}')
        while True:
            said = json.loads(socket.recv(30))
            if said["type"] == "final":
                return said["prediction"]["probabilities"]


def _oip(server: Running, path: Path, text: str) -> dict[str, float]:
    """As Triton's client sends it: binary tensors in, binary tensors out."""
    blobs = [path.read_bytes(), text.encode()]
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


def _oip_waveform(server: Running, path: Path, text: str) -> dict[str, float]:
    samples = decode_audio(path)
    inputs = [
        {"name": "waveform", "datatype": "FP32", "shape": [1, len(samples)], "data": samples.tolist()},
        {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]},
    ]
    body = json.dumps({"inputs": inputs, "outputs": [{"name": "probabilities"}]}).encode()
    answer = server.ask("POST", "/v2/models/default/infer", body, {"Content-Type": "application/json"})
    labels = server.ask("GET", "/labels").json()["labels"]
    return dict(zip(labels, answer.json()["outputs"][0]["data"], strict=True))


def _command(items: Sequence[tuple[Path, str]], folder: Path) -> list[dict[str, float]]:
    """What `affetto predict` says of a manifest of them."""
    manifest = folder / "clips.csv"
    with manifest.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "speech", "text"))
        rows.writerows((number, path, text) for number, (path, text) in enumerate(items))
    command = [sys.executable, "-m", "affetto", "predict", str(manifest), "--json"]
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, capture_output=True, check=True, timeout=600, env=env, text=True)
    return [json.loads(line)["probabilities"] for line in done.stdout.splitlines()]
