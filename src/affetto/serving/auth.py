"""Who may ask: keys, and the policy that every route declares as its dependency.

A route has exactly one of `anyone` and `with_key` among its dependencies. A test refuses a route that has
neither, so that a new one cannot be open by accident; nothing is decided by matching paths.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from starlette.requests import HTTPConnection

from affetto.errors import ServingError

_SHORTEST = 16


class Keys:
    """The keys that open the server; without any, everybody on this machine may ask."""

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        # Digests have one length, so that comparing takes one time whatever is offered.
        self._digests = tuple(_digest(key) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, offered: str | None) -> None:
        """Raises ServingError key_missing, key_wrong. Takes the same time for every wrong key."""
        if not self._digests:
            return
        if not offered:
            raise ServingError(
                "key_missing",
                "this server wants a key: send `Authorization: Bearer KEY` or `X-API-Key: KEY`",
            )
        digest, right = _digest(offered), False
        for known in self._digests:
            right |= hmac.compare_digest(digest, known)
        if not right:
            raise ServingError("key_wrong", "the key is not one of this server's: check it, or ask for one")


def read_keys(path: Path) -> Keys:
    """The keys of a file, one per line; empty lines and lines that begin with # do not count.

    Raises ServingError `keys_invalid`.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ServingError("keys_invalid", f"{path}: cannot be read ({reason})") from None
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise ServingError("keys_invalid", f"{path}: holds no key, expected one per line")
    if any(len(key) < _SHORTEST or not key.isascii() or " " in key for key in keys):
        raise ServingError(
            "keys_invalid",
            f"{path}: a key is shorter than {_SHORTEST} characters or has spaces or letters beyond ASCII; "
            "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`",
        )
    return Keys(keys)


def offered_key(connection: HTTPConnection) -> str | None:
    """The key that the headers of a request offer."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return connection.headers.get("x-api-key")


def client_of(connection: HTTPConnection, key: str | None = None) -> str:
    """Who takes turns with others: the holder of a key, where there are keys, else an address. `key` is one
    that the headers do not offer."""
    if connection.app.state.server.keys:
        return _digest(key or offered_key(connection) or "").hex()
    return connection.client.host if connection.client else ""


async def anyone(connection: HTTPConnection) -> None:
    """Policy: open to everybody."""


async def with_key(connection: HTTPConnection) -> None:
    """Policy: wants a key, where the server has any. Raises ServingError key_missing, key_wrong."""
    connection.app.state.server.keys.check(offered_key(connection))


async def with_key_later(connection: HTTPConnection) -> None:
    """Policy of the stream: the key stands in the headers, or in the first message, for which browsers have
    no headers; the stream checks it before it does anything else."""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
