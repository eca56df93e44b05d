"""The Open Inference Protocol, as its clients speak it."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np

PATH = "/v2/models/plain/infer"


def tensor(name: str, *data, **more) -> dict:
    return {"name": name, "datatype": "BYTES", "shape": [len(data)], "data": list(data), **more}


def outputs(answer) -> dict:
    assert answer.status_code == 200, answer.text
    return {output["name"]: output for output in answer.json()["outputs"]}


def test_the_server_and_its_model_describe_themselves(client):
    one = client()
    assert one.get("/v2").json()["name"] == "affetto"
    assert one.get("/v2/health/live").json() == {"live": True}
    assert one.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/plain", "/v2/models/plain/versions/1"):
        described = one.get(path).json()
        assert described["versions"] == ["1"]
        assert {given["name"] for given in described["inputs"]} == {"text", "audio", "image", "waveform"}
        assert one.get(f"{path}/ready").json() == {"name": "plain", "ready": True}


def test_a_batch_of_texts(client):
    answer = client().post(PATH, json={"id": "7", "inputs": [tensor("text", "happy", "furious")]})
    assert answer.json()["id"] == "7"
    found = outputs(answer)
    assert found["emotion"]["data"] == ["happiness", "anger"]
    assert found["probabilities"]["shape"] == [2, 7]
    assert np.array(found["probabilities"]["data"]).reshape(2, 7).sum(axis=1).round(5).tolist() == [1, 1]
    assert json.loads(found["answer"]["data"][1])["emotion"] == "anger"


def test_sound_and_a_face_in_base64(client, clip, face):
    given = [
        tensor("audio", base64.b64encode(clip).decode()),
        tensor("image", base64.b64encode(face).decode()),
    ]
    answer = client().post(PATH, json={"inputs": given, "outputs": [{"name": "answer"}]})
    assert set(outputs(answer)) == {"answer"}
    assert json.loads(outputs(answer)["answer"]["data"][0])["missing"] == ["text"]


def test_a_waveform_nested_and_flat(client):
    one, wave = client(), (0.2 * np.sin(np.arange(8000) / 9)).round(4)
    flat = {"name": "waveform", "datatype": "FP32", "shape": [8000], "data": wave.tolist()}
    nested = {**flat, "shape": [2, 4000], "data": wave.reshape(2, 4000).tolist()}
    assert outputs(one.post(PATH, json={"inputs": [flat]}))["confidence"]["shape"] == [1]
    assert outputs(one.post(PATH, json={"inputs": [nested]}))["confidence"]["shape"] == [2]


def test_binary_tensors_both_ways(client):
    texts = [b"happy", b"gloomy"]
    data = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    given = {"name": "text", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(data)}}
    wanted = [
        {"name": "emotion", "parameters": {"binary_data": True}},
        {"name": "probabilities", "parameters": {"binary_data": True}},
        {"name": "confidence", "parameters": {"binary_data": False}},
    ]
    head = json.dumps({"inputs": [given], "outputs": wanted}).encode()
    answer = client().post(
        PATH, content=head + data, headers={"Inference-Header-Content-Length": str(len(head))}
    )
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["inference-header-content-length"])
    described = json.loads(answer.content[:length])["outputs"]
    sizes = [output.get("parameters", {}).get("binary_data_size", 0) for output in described]
    tail = answer.content[length:]
    assert sum(sizes) == len(tail)
    assert tail[: sizes[0]] == b"\x09\0\0\0happiness\x07\0\0\0sadness"
    probabilities = np.frombuffer(tail[sizes[0] :], "<f4").reshape(2, 7)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert described[2]["data"] == [float(row.max()) for row in np.array(described[2]["data"]).reshape(2, 1)]


def test_errors_have_the_field_that_its_clients_read(client):
    answer = client().post(PATH, json={"inputs": []}).json()
    assert answer["error"] == answer["message"]
