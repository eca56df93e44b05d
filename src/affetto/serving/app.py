"""`create_app`: the application over a Predictor, or over a pool of workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import affetto
from affetto.errors import ServingError
from affetto.predictor import Predictor
from affetto.serving import oip, routes, schemas, stream
from affetto.serving.assets import read_files
from affetto.serving.auth import Keys, anyone
from affetto.serving.guard import Guard
from affetto.serving.limits import Limits
from affetto.serving.metrics import Metrics
from affetto.serving.page import page_router
from affetto.serving.pool import Pool, Start
from affetto.serving.purpose import Purpose
from affetto.serving.server import Server

_SUMMARY = "Tell how people feel from speech, text and face, any subset of them."


def create_app(
    predictor: Predictor | Start,
    *,
    workers: int = 1,
    limits: Limits = Limits(),
    keys: Keys = Keys(),
    purpose: Purpose = Purpose("personal"),
    local: bool = False,
) -> FastAPI:
    """The application. With a Predictor it answers in a thread of this process, whose decoder then is the
    Predictor's own; with what starts workers (`affetto serve` does so), in processes of their own.

    `local`: only this machine is served, and pages of other sites are refused. The workers live as long as the
    application's lifespan.
    """
    start = in_thread(predictor, limits) if isinstance(predictor, Predictor) else predictor
    metrics = Metrics()
    server = Server(Pool(start, workers, limits, metrics), limits, metrics, keys, purpose, local)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.pool.start()
        yield
        await server.pool.stop()

    app = FastAPI(
        title="affetto", version=affetto.__version__, summary=_SUMMARY, lifespan=lifespan,
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.state.server = server
    for router in (routes.router, oip.router, stream.router, page_router(read_files())):
        app.include_router(router)
    app.add_api_route("/openapi.json", _openapi, dependencies=[Depends(anyone)], include_in_schema=False)
    app.add_exception_handler(HTTPException, _http_fault)
    every = [route for router in (routes.router, oip.router) for route in router.routes]
    work = [route for route in every if isinstance(route, APIRoute) and route.methods == {"POST"}]
    app.add_middleware(Guard, server=server, work=work)
    return app


def in_thread(predictor: Predictor, limits: Limits) -> Start:
    """Starts workers that share this Predictor, each in a thread."""
    from affetto.serving.answering import Answering
    from affetto.serving.workers import ThreadWorker

    async def start(expected: str | None) -> ThreadWorker:
        answering = Answering(predictor, limits)
        return ThreadWorker(answering.handle, answering.model())

    return start


async def _openapi(request: Request) -> Response:
    """The description of all of this."""
    app: FastAPI = request.app
    if app.openapi_schema is None:
        described = app.openapi()
        components: dict[str, Any] = described.setdefault("components", {}).setdefault("schemas", {})
        for model in (schemas.PredictBody, schemas.BatchBody, schemas.BatchItem, schemas.Search):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            components.update(schema.pop("$defs", {}))
            components[model.__name__] = schema
    return JSONResponse(app.openapi_schema)


async def _http_fault(request: Request, error: Exception) -> Response:
    """Errors of the framework as errors of ours."""
    assert isinstance(error, HTTPException)
    request.state.more_headers = dict(error.headers or {})
    if error.status_code == 405:
        raise ServingError("method_unsupported", "this route does not have this method; see /openapi.json")
    if error.status_code == 404:
        raise ServingError("route_unknown", "there is no such route; see /openapi.json")
    raise ServingError("header_invalid", "the request cannot be understood")
