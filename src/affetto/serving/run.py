"""`affetto serve`: bind, start the workers, answer, drain.

The port is bound first, so that one in use is told at once. SIGTERM and SIGINT drain: ready turns 503, what is
under way is answered, streams are told, and the process ends; a second one ends it at once. SIGHUP takes the
bundle anew. Only this process holds the port, and the kernel ends the workers with it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from affetto.errors import AffettoError, ServingError
from affetto.serving.auth import Keys
from affetto.serving.limits import Limits
from affetto.serving.purpose import Purpose
from affetto.serving.workers import ProcessWorker, Source, start_process

if TYPE_CHECKING:
    import uvicorn

    from affetto.serving.server import Server

_log = logging.getLogger("affetto.serving")
_SPARE_FILES = 64  # for workers, pipes, logs
_NOTICED_SECONDS = 0.3  # ready says 503 for so long before the port is closed


@dataclass(frozen=True, slots=True)
class Settings:
    """What `affetto serve` was asked for."""

    purpose: Purpose
    source: Source
    host: str
    port: int
    workers: int
    keys: Keys
    limits: Limits


def serve(settings: Settings) -> None:
    """Serve until a signal says to stop. Raises ServingError bind_refused, bind_failed."""
    _log_to_stderr()
    listener = bind(settings)
    asyncio.run(_serve(settings, listener))


def bind(settings: Settings) -> socket.socket:
    """The socket to listen on. Raises ServingError bind_refused (an address that others can reach, and no
    key), bind_failed."""
    if not settings.keys and not is_loopback(settings.host):
        raise ServingError(
            "bind_refused",
            f"--host {settings.host} can be reached by others: give --api-key-file, or leave it at 127.0.0.1",
        )
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        # With its protocol named, asyncio sets TCP_NODELAY: else each answer waits 40 ms for the client's ACK.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "not a port"
        raise ServingError(
            "bind_failed", f"{settings.host} port {settings.port}: {reason}; give another --host or --port"
        ) from None
    return listener


def is_loopback(host: str) -> bool:
    """Whether an address leads to this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _serve(settings: Settings, listener: socket.socket) -> None:
    first = asyncio.create_task(start_process(settings.source, settings.limits, None))
    await asyncio.sleep(0)  # the worker starts while the libraries below are loaded
    import uvicorn

    from affetto.serving.app import create_app
    from affetto.serving.protocol import make_config

    start = _Starting(settings, first)
    app = create_app(
        start,
        workers=settings.workers,
        limits=settings.limits,
        keys=settings.keys,
        purpose=settings.purpose,
        local=not settings.keys,
    )
    server = uvicorn.Server(make_config(app, settings.limits, _connections(settings.limits)))
    _say_where(settings, listener)
    running = asyncio.create_task(server._serve([listener]))  # `serve` would take the signals for itself
    _listen_to_signals(server, app.state.server)
    await asyncio.wait((first, running), return_when=asyncio.FIRST_COMPLETED)
    if not running.done() and first.exception() is not None:  # a bundle that cannot be used: say so and end
        server.should_exit = True
        await running
        first.result()
    await running


class _Starting:
    """Starts workers; the first one has been started already."""

    def __init__(self, settings: Settings, first: asyncio.Task[ProcessWorker]) -> None:
        self._settings = settings
        self._first: asyncio.Task[ProcessWorker] | None = first

    async def __call__(self, expected: str | None) -> ProcessWorker:
        first, self._first = self._first, None
        if first is not None:
            return await first
        return await start_process(self._settings.source, self._settings.limits, expected)


def _listen_to_signals(uvicorn_server: uvicorn.Server, server: Server) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def begin(work: Callable[[], object]) -> None:
        task = asyncio.ensure_future(work())  # type: ignore[call-overload]
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def stop() -> None:
        if server.pool.draining:
            os._exit(130)
        server.pool.draining = True
        begin(partial(_drain, uvicorn_server, server))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, begin, partial(_reload, server))


async def _drain(uvicorn_server: uvicorn.Server, server: Server) -> None:
    _log.warning("stopping: what is under way is answered")
    for stream in list(server.streams):
        stream.cancel()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(_NOTICED_SECONDS)
    while server.pool.busy and loop.time() - began < server.limits.drain_seconds:
        await asyncio.sleep(0.02)
    uvicorn_server.should_exit = True


async def _reload(server: Server) -> None:
    try:
        sha256 = await server.pool.reload()
    except (AffettoError, OSError) as error:
        server.metrics.reloads.labels("refused").inc()
        _log.error("reload refused, the old bundle goes on: %s", error)
    else:
        server.metrics.reloads.labels("taken").inc()
        _log.warning("reloaded: sha256 %s", sha256)


def _connections(limits: Limits) -> int:
    """How many connections may be open, with files left for everything else."""
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(min(limits.connections, files - _SPARE_FILES), 8)


def _say_where(settings: Settings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    with suppress(OSError):  # a full disk behind it
        print(
            f"affetto serves http://{shown}:{port} (purpose: {settings.purpose.header()})",
            file=sys.stderr,
            flush=True,
        )
    if not settings.purpose.complete:
        _log.warning(
            "the notice that you owe to the people concerned lacks --operator and --contact: see /notice"
        )
    if settings.purpose.exception is not None:
        _log.warning("declared: %s", settings.purpose.header())


def _log_to_stderr() -> None:
    logging.raiseExceptions = False  # a full disk behind standard error is no reason to fail
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _log.handlers, _log.propagate = [handler], False
    _log.setLevel(logging.INFO)
    # What uvicorn and asyncio tell in tracebacks is told in one line here.
    for name in ("uvicorn", "uvicorn.error", "asyncio", "websockets"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
