"""The Open Inference Protocol, version 2: what KServe and Triton clients speak, also its binary tensors.

Inputs (any subset): `text`, `audio`, `image` BYTES [B] and `waveform` FP32 [N] or [B N] at 16 kHz. Audio and
image are the bytes of a file: raw in binary tensors, base64 in JSON. Outputs: `emotion` BYTES [B] ("" when
unsure), `confidence` FP32 [B], `probabilities` FP32 [B C], `answer` BYTES [B], the whole answer as JSON.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import affetto
from affetto.errors import ServingError
from affetto.serving.auth import client_of
from affetto.serving.body import Grow, read_bytes, read_json
from affetto.serving.calls import Item, Reply
from affetto.serving.inputs import decoded, item_of, refuse_query
from affetto.serving.limits import Limits
from affetto.serving.routes import (
    FAULTS,
    KEY,
    OPEN,
    TheServer,
    count_answer,
    model_of,
    require_json,
    while_connected,
)
from affetto.serving.schemas import Options
from affetto.serving.server import Server

router = APIRouter(prefix="/v2")

_INPUTS = {
    "text": ("BYTES", [-1]),
    "audio": ("BYTES", [-1]),
    "image": ("BYTES", [-1]),
    "waveform": ("FP32", [-1, -1]),
}
_HEADER = "inference-header-content-length"
_MODEL_PATHS = ("/models/{name}", "/models/{name}/versions/{version}")
_TENSOR = {"type": "object", "required": ["name", "shape", "datatype"]}
_INFER_DOCS: Any = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"inputs": {"type": "array", "items": _TENSOR, "minItems": 1}},
                },
                "example": {
                    "inputs": [
                        {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Thank you so much!"]}
                    ]
                },
            }
        },
    }
}
_ANY: dict[int | str, Any] = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}}},
    **FAULTS,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input: BYTES as a list, of bytes or (`from_json`) of strings; FP32 as an array of its shape."""

    name: str
    shape: tuple[int, ...]
    data: Any
    from_json: bool


@router.get("", dependencies=KEY, responses=_ANY)
async def about() -> Response:
    """The server's name, version and extensions."""
    return JSONResponse(
        {"name": "affetto", "version": affetto.__version__, "extensions": ["binary_tensor_data"]}
    )


@router.get("/health/live", dependencies=OPEN, responses=_ANY)
async def live() -> Response:
    """Whether the process is there."""
    return JSONResponse({"live": True})


@router.get("/health/ready", dependencies=OPEN, responses=_ANY)
async def ready(server: TheServer) -> Response:
    """Whether requests are answered."""
    server.pool.check_ready()
    return JSONResponse({"ready": True})


async def metadata(server: TheServer, name: str, version: str | None = None) -> Response:
    """The inputs and outputs of the model."""
    facts = _check_model(server, name, version)
    outputs = [("emotion", "BYTES", [-1]), ("confidence", "FP32", [-1])]
    outputs += [("probabilities", "FP32", [-1, len(facts["labels"])]), ("answer", "BYTES", [-1])]
    known = [("text", *_INPUTS["text"])] if "text" in facts["modalities"] else []
    if "speech" in facts["modalities"]:
        known += [("audio", *_INPUTS["audio"]), ("waveform", *_INPUTS["waveform"])]
    if "vision" in facts["modalities"]:
        known += [("image", *_INPUTS["image"])]
    return JSONResponse(
        {
            "name": facts["model"]["name"],
            "versions": [facts["model"]["version"]],
            "platform": "affetto_onnx",
            "inputs": [{"name": n, "datatype": t, "shape": s} for n, t, s in known],
            "outputs": [{"name": n, "datatype": t, "shape": s} for n, t, s in outputs],
            "parameters": {"labels": facts["labels"], "sha256": facts["model"]["sha256"]},
        }
    )


async def model_ready(server: TheServer, name: str, version: str | None = None) -> Response:
    """Whether the model answers."""
    _check_model(server, name, version)
    return JSONResponse({"name": name, "ready": True})


async def infer(request: Request, server: TheServer, name: str, version: str | None = None) -> Response:
    """Emotions of a batch of items; one that fails fails the request, as the protocol has no other way."""
    refuse_query(request)
    facts, limits = _check_model(server, name, version), server.limits
    deadline = asyncio.get_running_loop().time() + limits.answer_seconds
    with server.budget.share() as grow:
        asked, tensors = await _read(request, limits, grow)
        work = _in_turn(_items(tensors, limits), server, deadline, client_of(request))
        answers = await while_connected(request, work)
    for reply, request.state.model in answers:
        count_answer(server, reply.facts)
    return _respond(asked, facts, [reply.data for reply, _ in answers])


for _path in _MODEL_PATHS:
    router.get(_path, dependencies=KEY, responses=_ANY)(metadata)
    router.get(f"{_path}/ready", dependencies=KEY, responses=_ANY)(model_ready)
    router.post(f"{_path}/infer", dependencies=KEY, responses=_ANY, openapi_extra=_INFER_DOCS)(infer)


def _check_model(server: Server, name: str, version: str | None) -> dict[str, Any]:
    facts = model_of(server)
    model = facts["model"]
    if name != model["name"] or version not in (None, model["version"]):
        raise ServingError("model_unknown", f"the model here is {model['name']}, version {model['version']}")
    return facts


async def _in_turn(
    items: Sequence[Item], server: Server, deadline: float, client: str
) -> list[tuple[Reply, str]]:
    return [await server.pool.ask(item.call(), deadline, client) for item in items]


# --- requests ---


async def _read(request: Request, limits: Limits, grow: Grow) -> tuple[dict[str, Any], list[Tensor]]:
    """The JSON of a request and its tensors, from JSON or from the bytes after it."""
    header = request.headers.get(_HEADER)
    if header is None:
        require_json(request)
    data = await read_bytes(request, limits.body_bytes, limits, grow)
    length = len(data) if header is None else _header_length(header, len(data))
    asked = read_json(data[:length])
    if not isinstance(asked, dict) or not isinstance(asked.get("inputs"), list) or not asked["inputs"]:
        raise _bad("expected an object with a list of inputs")
    for given in (asked, *asked["inputs"], *_list(asked, "outputs")):
        if not isinstance(given, dict) or not isinstance(given.get("parameters", {}), dict):
            raise _bad("inputs, outputs and parameters are objects")
    if not isinstance(asked.get("id", ""), str):
        raise _bad("id is a string")
    tensors, at = [], length
    for given in asked["inputs"]:
        size = given.get("parameters", {}).get("binary_data_size")
        if size is not None and (
            not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(data) - at
        ):
            raise _bad("binary_data_size is not the size of what follows")
        raw = None if size is None else bytes(data[at : at + size])
        at += size or 0
        tensors.append(_tensor(given, raw))
    if at != len(data):
        raise _bad("bytes are left over after the last tensor")
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise _bad("an input was given twice")
    return asked, tensors


def _header_length(header: str, most: int) -> int:
    if not header.isdecimal() or len(header) > 12 or int(header) > most:
        raise _bad("Inference-Header-Content-Length is not the length of the JSON")
    return int(header)


def _list(asked: dict[str, Any], name: str) -> list[Any]:
    value = asked.get(name) or []
    if not isinstance(value, list):
        raise _bad(f"{name} is a list")
    return value


def _tensor(given: dict[str, Any], raw: bytes | None) -> Tensor:
    name, shape, datatype = given.get("name"), _shape(given.get("shape")), given.get("datatype")
    if not isinstance(name, str) or name not in _INPUTS:
        raise _bad(f"an unknown input: expected {', '.join(_INPUTS)}")
    if datatype != _INPUTS[name][0]:
        raise _bad(f"{name}: expected datatype {_INPUTS[name][0]}")
    count = math.prod(shape)
    if datatype == "BYTES":
        data = given.get("data") if raw is None else _elements(name, raw)
        kind = str if raw is None else bytes
        if not isinstance(data, list) or len(data) != count or not all(isinstance(one, kind) for one in data):
            raise _bad(f"{name}: expected {count} strings")
        return Tensor(name, shape, data, raw is None)
    if raw is not None and len(raw) % 4:
        raise _bad(f"{name}: {len(raw)} bytes are no whole numbers of FP32")
    numbers = _floats(name, given.get("data")) if raw is None else np.frombuffer(raw, "<f4")
    if numbers.size != count:
        raise _bad(f"{name}: {numbers.size} numbers, the shape says {count}")
    return Tensor(name, shape, numbers.reshape(shape), raw is None)


def _shape(given: Any) -> tuple[int, ...]:
    counts = isinstance(given, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in given)
    if not counts or not 1 <= len(given) <= 2 or not all(0 < n < 2**31 for n in given):
        raise _bad("expected a shape of one or two sizes above 0")
    return tuple(given)


def _elements(name: str, raw: bytes) -> list[bytes]:
    """BYTES of a binary tensor: four bytes of length, little-endian, before each element."""
    found, at = [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        if at + 4 + size > len(raw):
            raise _bad(f"{name}: an element runs past the end of the tensor")
        found.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def _floats(name: str, data: Any) -> np.ndarray:
    flat = data if isinstance(data, list) else [data]
    while flat and all(isinstance(row, list) for row in flat):
        flat = [value for row in flat for value in row]
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in flat):
        raise _bad(f"{name}: expected numbers")
    try:
        return np.array(flat, "<f4")
    except OverflowError:
        raise _bad(f"{name}: a number is too large") from None


def _items(tensors: Sequence[Tensor], limits: Limits) -> list[Item]:
    given = {tensor.name: tensor for tensor in tensors}
    if {"audio", "waveform"} <= set(given):
        raise _bad("audio and waveform are both the sound: give one")
    sizes = {1 if t.name == "waveform" and len(t.shape) == 1 else t.shape[0] for t in tensors}
    if len(sizes) > 1 or max(sizes) > limits.items:
        raise _bad(f"the inputs are not of one batch of at most {limits.items}")
    items = []
    for place in range(sizes.pop()):
        media: dict[str, Any] = {}
        for name in ("audio", "image"):
            if name in given:
                value = np.ravel(np.array(given[name].data, object))[place]
                media[name] = decoded(name, value) if given[name].from_json else value
        if "waveform" in given:
            wave = given["waveform"].data
            samples = wave if wave.ndim == 1 else wave[place]
            if len(samples) > limits.seconds * 16_000:
                raise ServingError("body_too_large", f"waveform: more than {limits.seconds:g} s")
            media["waveform"] = np.ascontiguousarray(samples).tobytes()
        text = None
        if "text" in given:
            value = np.ravel(np.array(given["text"].data, object))[place]
            text = value if isinstance(value, str) else value.decode("utf-8", "replace")
        items.append(item_of(Options.model_validate({"text": text}), limits, **media))
    return items


# --- answers ---


def _respond(asked: dict[str, Any], facts: dict[str, Any], answers: Sequence[bytes]) -> Response:
    """The response, with the outputs that were asked for, as JSON or as binary tensors."""
    said = [json.loads(answer) for answer in answers]
    labels, count = facts["labels"], len(said)
    columns: dict[str, tuple[str, list[int], Any]] = {
        "emotion": ("BYTES", [count], [one["emotion"] or "" for one in said]),
        "confidence": ("FP32", [count], [one["confidence"] for one in said]),
        "probabilities": (
            "FP32", [count, len(labels)], [one["probabilities"].get(n, 0.0) for one in said for n in labels]
        ),
        "answer": ("BYTES", [count], [answer.decode() for answer in answers]),
    }  # fmt: skip
    wanted = _list(asked, "outputs") or [{"name": name} for name in columns]
    all_binary = asked.get("parameters", {}).get("binary_data_output") is True
    outputs, tail = [], []
    for want in wanted:
        if want.get("name") not in columns:
            raise _bad(f"an unknown output: expected {', '.join(columns)}")
        datatype, shape, data = columns[want["name"]]
        described = {"name": want["name"], "datatype": datatype, "shape": shape}
        if want.get("parameters", {}).get("binary_data", all_binary):
            tail.append(_packed(datatype, data))
            outputs.append({**described, "parameters": {"binary_data_size": len(tail[-1])}})
        else:
            outputs.append({**described, "data": data})
    model = facts["model"]
    answer = {"model_name": model["name"], "model_version": model["version"], "outputs": outputs}
    if "id" in asked:
        answer["id"] = asked["id"]
    head = json.dumps(answer, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    if not tail:
        return Response(head, media_type="application/json")
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return Response(head + b"".join(tail), media_type="application/octet-stream", headers=headers)


def _packed(datatype: str, data: Sequence[Any]) -> bytes:
    if datatype == "FP32":
        return np.array(data, "<f4").tobytes()
    encoded = [one.encode() for one in data]
    return b"".join(struct.pack("<I", len(one)) + one for one in encoded)


def _bad(message: str) -> ServingError:
    return ServingError("tensor_invalid", message)
