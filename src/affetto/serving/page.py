"""The page: the files of `static/`, read into memory when the server starts, so that no path is ever opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Depends
from starlette.responses import Response

from affetto.errors import ServingError
from affetto.serving.auth import anyone

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_HEADERS = {
    "content-security-policy": "default-src 'self' 'unsafe-inline' blob: data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "permissions-policy": "microphone=(self), camera=(self)",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file of the page."""

    type: str
    data: bytes


def read_files(folder: Path = _FOLDER) -> Mapping[str, File]:
    """The files of a folder that a browser may ask for, by name."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        path.name: File(_TYPES[path.suffix], path.read_bytes()) for path in found if path.suffix in _TYPES
    }


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
