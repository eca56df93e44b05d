"""Workers as the server holds them: one in a process of its own, one in a thread for tests and notebooks."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from affetto.errors import CODES, ServingError
from affetto.serving.calls import Call, Reply
from affetto.serving.limits import Limits

_START_SECONDS = 60.0
_SLICE = 256 * 1024
_LONGEST_HEADER = 64 * 1024
_KEPT_BYTES = 2**25  # of freed memory, at the most, that a worker keeps; a quarter of it for one array


class WorkerDied(Exception):
    """The worker ended, or said something that cannot be understood, before it answered."""


class Worker(Protocol):
    """Answers one call at a time. `model` is what `Answering.model` said; `left` is set when it ended."""

    model: dict[str, Any]
    left: asyncio.Event

    async def ask(self, call: Call) -> Reply:
        """Raises WorkerDied."""

    def kill(self) -> None:
        """End it in the middle of whatever it does."""

    async def close(self) -> None:
        """End it when it has nothing to do, and wait until it is gone."""


@dataclass(frozen=True, slots=True)
class Source:
    """The bundle that worker processes open, and the index that they search, which names a bundle too."""

    bundle: str | Path | None = None
    precision: str | None = None
    index: str | Path | None = None


class ProcessWorker:
    """A worker in a process of its own. Made by `start_process`."""

    def __init__(self, process: asyncio.subprocess.Process, model: dict[str, Any]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.model = model
        self.left = asyncio.Event()
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        self._watch = asyncio.create_task(self._wait())

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, call: Call) -> Reply:
        try:
            header = {"name": call.name, "facts": call.facts, "sizes": [len(blob) for blob in call.blobs]}
            text = json.dumps(header).encode()
            self._stdin.write(len(text).to_bytes(4, "big") + text)
            for blob in call.blobs:
                view = memoryview(blob)
                for at in range(0, len(view), _SLICE):  # the pipe's buffer never holds a whole upload
                    self._stdin.write(view[at : at + _SLICE])
                    await self._stdin.drain()
            await self._stdin.drain()
            answer = await _message(self._stdout)
            return Reply(answer["facts"], await self._stdout.readexactly(answer["bytes"]))
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            self.kill()
            self.left.set()  # nobody is to ask it again before the kernel says so
            raise WorkerDied from error

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        self._stdin.close()  # the end of its input ends it
        try:
            async with asyncio.timeout(2.0):
                await self.left.wait()
        except TimeoutError:
            self.kill()
            await self.left.wait()

    async def _wait(self) -> None:
        await self._process.wait()
        self._stdin.close()
        self.left.set()


async def start_process(source: Source, limits: Limits, expected: str | None) -> ProcessWorker:
    """Start a worker and wait until it has answered once for each modality.

    `expected` is the sha256 that the bundle must have. Raises what the worker says (bundle_not_found,
    bundle_invalid, bundle_tampered), ServingError not_ready where it died or took too long.
    """
    settings = {
        "bundle": None if source.bundle is None else str(source.bundle),
        "precision": source.precision,
        "index": None if source.index is None else str(source.index),
        "expected": expected,
        "owner": os.getpid(),
        "limits": asdict(limits),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "affetto.serving.worker", json.dumps(settings),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=_environment(),
        limit=2**20,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_SECONDS):
            said = await _message(process.stdout)
    except BaseException as error:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()  # an event loop that ends before its pipes do complains
        if isinstance(error, (OSError, EOFError, ValueError)):
            raise ServingError("not_ready", "the worker died, or took too long, while it started") from error
        raise
    if said.get("kind") != "ready":
        await process.wait()
        code = said["code"] if said.get("code") in CODES else "internal"
        raise ServingError(code, str(said.get("message")))
    return ProcessWorker(process, said["model"])


class ThreadWorker:
    """A worker in a thread of this process: nothing is there to protect it, or the server from it."""

    def __init__(self, handle: Callable[[Call], Reply], model: dict[str, Any]) -> None:
        self.model = model
        self.left = asyncio.Event()
        self._handle = handle
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="affetto-worker")

    async def ask(self, call: Call) -> Reply:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._handle, call)

    def kill(self) -> None:
        """A thread cannot be ended: its answer is waited for, and dropped."""

    async def close(self) -> None:
        self._thread.shutdown(wait=False)
        self.left.set()


async def _message(pipe: asyncio.StreamReader) -> dict[str, Any]:
    length = int.from_bytes(await pipe.readexactly(4), "big")
    if length > _LONGEST_HEADER:
        raise ValueError("a header that is too long")
    return json.loads(await pipe.readexactly(length))


def _environment() -> dict[str, str]:
    """The worker imports what we import, its libraries start no threads of their own, and glibc keeps what a
    request has freed for the next one: to give it back and take it again costs a seventh of a request."""
    package = str(Path(__file__).parents[2])
    modules = os.pathsep.join([package, *(entry for entry in sys.path if entry)])
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    kept = {"MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES), "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES // 4)}
    return {**os.environ, "PYTHONPATH": modules, **single, **kept}
