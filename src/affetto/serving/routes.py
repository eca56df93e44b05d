"""`POST /predict`, `POST /v1/predict`, and what the server says of itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from affetto.errors import AffettoError, ServingError
from affetto.serving import schemas
from affetto.serving.auth import anyone, client_of, with_key
from affetto.serving.body import media_type, read_bytes, read_json
from affetto.serving.faults import fault_of
from affetto.serving.inputs import decoded, item_of, read_item, read_search, refuse_query, validated
from affetto.serving.metrics import CONTENT_TYPE
from affetto.serving.server import Server

router = APIRouter()
T = TypeVar("T")


async def server_of(request: Request) -> Server:
    """The server that a request is for. Async, since FastAPI runs plain functions in threads."""
    return request.app.state.server


TheServer = Annotated[Server, Depends(server_of)]
OPEN = [Depends(anyone)]
KEY = [Depends(with_key)]
FAULTS: dict[int | str, Any] = {
    "4XX": {"model": schemas.Error, "description": "The request is refused; `code` says why."},
    "5XX": {"model": schemas.Error, "description": "Not now, or a fault of the server; see `retryable`."},
}
_FILE = {"type": "string", "format": "binary"}
_TEXT_FIELDS = {
    "text": {"type": "string", "description": "What was said."},
    "timeline": {"type": "boolean", "default": False, "description": "Answer every half second too."},
    "labels": {"type": "string", "description": "Only these are possible: happy,sad."},
    "language": {"type": "string", "description": "Language of the text, like en or de."},
    "timeout_ms": {"type": "integer", "minimum": 1, "description": "Answer within so long, else 504."},
}
_FORM = {
    "audio_file": {**_FILE, "description": "WAV, FLAC, OGG or MP3."},
    "image_file": {**_FILE, "description": "JPEG, PNG or WebP."},
    "words": {**_FILE, "description": "Words with times: SRT, VTT, TextGrid, CTM, JSON or CSV."},
    **_TEXT_FIELDS,
}
_REF = "#/components/schemas/"
_PREDICT_DOCS: Any = {
    "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in _TEXT_FIELDS.items()],
    "requestBody": {
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": _FORM, "additionalProperties": False}
            },
            "application/x-www-form-urlencoded": {
                "schema": {"type": "object", "properties": _TEXT_FIELDS, "additionalProperties": False}
            },
            "application/json": {"schema": {"$ref": f"{_REF}PredictBody"}},
        }
    },
}
_SEARCH_FORM = {
    **{name: _FORM[name] for name in ("audio_file", "image_file")},
    **schemas.Search.model_json_schema()["properties"],
}
_SEARCH_DOCS: Any = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": _SEARCH_FORM, "additionalProperties": False}
            },
            "application/json": {"schema": {"$ref": f"{_REF}Search"}},
        },
    }
}
_BATCH_DOCS: Any = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"{_REF}BatchBody"}}},
    }
}


@router.post(
    "/predict",
    dependencies=KEY,
    openapi_extra=_PREDICT_DOCS,
    responses={200: {"model": schemas.Prediction}, **FAULTS},
)
async def predict(request: Request, server: TheServer) -> Response:
    """The emotion of one recording, text or face, or of any of them together."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with server.budget.share() as grow:
        item, seconds = await read_item(request, server.limits, grow)
        reply, request.state.model = await while_connected(
            request, server.pool.ask(item.call(), began + seconds, client_of(request))
        )
    count_answer(server, reply.facts)
    return Response(reply.data, media_type="application/json")


@router.post(
    "/v1/predict",
    dependencies=KEY,
    openapi_extra=_BATCH_DOCS,
    responses={200: {"model": schemas.BatchAnswer}, **FAULTS},
)
async def predict_batch(request: Request, server: TheServer) -> Response:
    """The emotions of several items; one that fails gets an error of its own and fails no other."""
    refuse_query(request)
    limits = server.limits
    loop = asyncio.get_running_loop()
    began = loop.time()
    require_json(request)
    with server.budget.share() as grow:
        data = await read_bytes(request, limits.body_bytes, limits, grow)
        body = validated(schemas.BatchBody, read_json(data))
        if len(body.items) > limits.items:
            raise ServingError("value_invalid", f"items: {len(body.items)}, expected at most {limits.items}")
        deadline = began + min((body.timeout_ms or 10**9) / 1000, limits.answer_seconds)
        turn = asyncio.Semaphore(max(server.pool.live, 1))
        answers = [_batch_item(request, server, item, deadline, turn) for item in body.items]
        results = await while_connected(request, _together(answers))
    return Response(b'{"results":[' + b",".join(results) + b"]}", media_type="application/json")


async def _batch_item(
    request: Request, server: Server, given: Any, deadline: float, turn: asyncio.Semaphore
) -> bytes:
    """The JSON of one result: `{"id", "prediction"}` or `{"id", "error"}`."""
    name = given.get("id") if isinstance(given, dict) and isinstance(given.get("id"), str) else None
    head = b'{"id":' + json.dumps(name).encode()
    try:
        asked = validated(schemas.BatchItem, given)
        media = {"audio": decoded("audio", asked.audio), "image": decoded("image", asked.image)}
        item = item_of(asked, server.limits, **media)
        async with turn:
            reply, request.state.model = await server.pool.ask(item.call(), deadline, client_of(request))
    except AffettoError as error:
        return head + b',"error":' + fault_of(error).encoded(request.state.request_id) + b"}"
    count_answer(server, reply.facts)
    return head + b',"prediction":' + reply.data + b"}"


async def _together(work: list[Coroutine[Any, Any, bytes]]) -> list[bytes]:
    return await asyncio.gather(*work)


@router.post(
    "/v1/search",
    dependencies=KEY,
    openapi_extra=_SEARCH_DOCS,
    responses={200: {"model": schemas.Hits}, **FAULTS},
)
async def search(request: Request, server: TheServer) -> Response:
    """The clips of the server's index that are nearest to words, a recording or a picture."""
    began = asyncio.get_running_loop().time()
    if model_of(server)["index"] is None:
        raise ServingError("route_unknown", "this server searches no index: start it with --index")
    with server.budget.share() as grow:
        call, seconds = await read_search(request, server.limits, grow)
        work = server.pool.ask(call, began + seconds, client_of(request))
        reply, request.state.model = await while_connected(request, work)
    return Response(reply.data, media_type="application/json")


@router.get("/labels", dependencies=KEY, responses={200: {"model": schemas.Labels}, **FAULTS})
async def labels(server: TheServer) -> Response:
    """What the model answers with, and what the server takes."""
    limits = server.limits
    facts = {
        "body_bytes": limits.body_bytes,
        "seconds": limits.seconds,
        "pixels": limits.pixels,
        "text_characters": limits.text_characters,
        "items": limits.items,
        "stream_seconds": limits.stream_seconds,
        "timeout_ms": int(1000 * limits.answer_seconds),
    }
    return JSONResponse({**model_of(server), "limits": facts})


@router.get("/health/live", dependencies=OPEN, responses={200: {"model": schemas.Live}})
async def live() -> Response:
    """Whether the process is there."""
    return JSONResponse({"live": True})


@router.get("/health/ready", dependencies=OPEN, responses={200: {"model": schemas.Ready}, **FAULTS})
async def ready(server: TheServer) -> Response:
    """Whether requests are answered: a worker has verified its bundle and answered once for each modality."""
    server.pool.check_ready()
    return JSONResponse(
        {"ready": True, "workers": server.pool.live, "model": model_of(server)["model"]["sha256"]}
    )


@router.get("/notice", dependencies=OPEN, responses={200: {"model": schemas.Notice}})
async def notice(server: TheServer) -> Response:
    """What the people concerned are to be told (AI Act Art. 50(3))."""
    return JSONResponse({**server.purpose.notice(), "key_required": bool(server.keys)})


@router.get("/metrics", dependencies=KEY, responses={200: {"content": {"text/plain": {}}}, **FAULTS})
async def metrics(server: TheServer) -> Response:
    """Counts and times for Prometheus."""
    return Response(server.metrics.text(), media_type=CONTENT_TYPE)


def model_of(server: Server) -> dict[str, Any]:
    """What the workers say of their model. Raises ServingError not_ready."""
    if server.pool.model is None:
        server.pool.check_ready()
    assert server.pool.model is not None
    return server.pool.model


def count_answer(server: Server, facts: dict[str, Any]) -> None:
    """Count an answer as one or as unsure."""
    server.metrics.answers.labels("unsure" if facts.get("unsure") else "answered").inc()


def require_json(request: Request) -> None:
    """Raises ServingError media_type_unsupported, encoding_unsupported."""
    if media_type(request)[0] != "application/json":
        raise ServingError("media_type_unsupported", "expected a body of application/json")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is dropped when the client leaves. Raises ClientDisconnect."""
    task, watch = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        watch.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
