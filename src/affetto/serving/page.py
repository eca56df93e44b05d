"""The routes of the page: files that were put together when the server started, so that no path is ever opened."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Depends
from starlette.responses import Response

from affetto.errors import ServingError
from affetto.serving.assets import POLICY, File
from affetto.serving.auth import anyone

_HEADERS = {"content-security-policy": POLICY, "permissions-policy": "microphone=(self), camera=(self)"}


def page_router(files: Mapping[str, File]) -> APIRouter:
    """`/` and `/static/NAME` over these files."""
    router = APIRouter()

    @router.get("/", dependencies=[Depends(anyone)], include_in_schema=False)
    async def page() -> Response:
        return _answer(files, "index.html")

    @router.get("/static/{name}", dependencies=[Depends(anyone)], include_in_schema=False)
    async def file(name: str) -> Response:
        return _answer(files, name)

    return router


def _answer(files: Mapping[str, File], name: str) -> Response:
    if name not in files:
        raise ServingError("route_unknown", "the page has no such file")
    return Response(files[name].data, media_type=files[name].type, headers=_HEADERS)
