"""Decoding in a process of its own, which may crash, hang or run out of memory without harm to the caller.

    with DecodingWorker() as worker:
        waveform = worker.decode_audio("call.wav")
        for block in worker.iter_audio("day.flac", limits=LONG_AUDIO):
            ...

The child is limited (address space, processor time, open files, no written file, no core dump, no network; where
the platform knows such limits) and is replaced after every failure, which costs one request and never a second.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np

from affetto.errors import AffettoError, ConfigError, MediaError
from affetto.media.clock import Clock
from affetto.media.limits import SAMPLE_RATE, AudioLimits, ImageLimits, VideoLimits
from affetto.media.messages import BROKEN_OFF, Expected, Piece, collect, receive, receive_piece, send
from affetto.media.source import MediaSource, check_size, named, read_stdin

_Answer = TypeVar("_Answer", np.ndarray | AffettoError, Piece | AffettoError | None)

_START_SECONDS = 60.0
# Four seconds of sound: each time a pipe is full, the two processes must be scheduled in turn.
_PIPE_BYTES = 256 * 1024
# Children that wait for work: one for what is decoded whole, one for what is decoded block by block.
_WAITING = 2
_WHOLE_BLOCK_SECONDS = 10.0


class DecodingWorker:
    """Does what `decode_audio`, `decode_image`, `iter_audio` and `iter_frames` do, in limited child processes;
    safe to share between threads.

    `timeout` is in seconds of wall clock for each answer (of an iteration: for each block or picture, not
    counting the caller's own time between them), and the child's limit of processor time as well;
    `memory_bytes` is a child's address space. The first child is started at once and not waited for. What
    is decoded whole is decoded one after the other; every iteration has a child to itself while it lasts,
    so that whoever consumes slowly keeps nobody waiting. Close the worker (or use it in a `with`
    statement), which also ends iterations; if its owner dies, the children end by themselves. Where no child
    can be started, everything raises decoder_unavailable.
    """

    def __init__(self, *, timeout: float = 60.0, memory_bytes: int = 512 * 2**20) -> None:
        self._timeout = timeout
        self._memory_bytes = memory_bytes
        self._turn = threading.Lock()
        # Reentrant: the garbage collector may end a forgotten iteration in the middle of anything.
        self._lock = threading.RLock()
        self._closed = False
        self._waiting = [_Child(memory_bytes, timeout)]
        self._busy: set[_Child] = set()

    @property
    def pid(self) -> int | None:
        """The process id of the child that gets the next request; None when none is waiting."""
        return self._waiting[-1].process.pid if self._waiting else None

    def decode_audio(
        self,
        source: MediaSource,
        *,
        start: float | None = None,
        end: float | None = None,
        limits: AudioLimits = AudioLimits(),
    ) -> np.ndarray:
        """As `media.audio.decode_audio`: float32 [N]. Raises decoder_crashed, decoder_timeout as well."""
        header = _audio_header(start, end, limits, _WHOLE_BLOCK_SECONDS, streamed=False)
        return self._whole(self._request(header, source, limits.max_bytes), _audio(limits))

    def decode_image(self, source: MediaSource, *, limits: ImageLimits = ImageLimits()) -> np.ndarray:
        """As `media.image.decode_image`: uint8 [H W 3]. Raises decoder_crashed, decoder_timeout as well."""
        header = {"call": "image", "limits": asdict(limits), "streamed": False}
        most = limits.max_pixels * 3
        return self._whole(self._request(header, source, limits.max_bytes), Expected(np.uint8, 3, most, most))

    def iter_audio(
        self,
        source: MediaSource,
        *,
        start: float | None = None,
        end: float | None = None,
        limits: AudioLimits = AudioLimits(),
        block_seconds: float = 1.0,
    ) -> Iterator[np.ndarray]:
        """As `media.audio.iter_audio`: float32 blocks [n]. Neither process holds more than a few blocks.

        Give `limits=LONG_AUDIO` for more than an hour. An iteration that is closed early, or forgotten, ends
        its child. Raises decoder_crashed, decoder_timeout as well.
        """
        if not 0 < block_seconds < math.inf:
            raise ConfigError("config_invalid", f"block_seconds={block_seconds}: expected more than 0")
        header = _audio_header(start, end, limits, float(block_seconds), streamed=True)
        request = self._request(header, source, limits.max_bytes)
        for piece in self._pieces(request, _audio(limits, block_seconds)):
            yield piece.array(np.float32)

    def iter_frames(
        self, source: MediaSource, *, every: float, limits: VideoLimits = VideoLimits()
    ) -> Iterator[tuple[float, np.ndarray]]:
        """As `media.video.iter_frames`: (seconds, uint8 [H W 3]). Neither process holds more than a few pictures.

        Give `limits=LONG_VIDEO` for more than an hour. Raises decoder_crashed, decoder_timeout as well.
        """
        header = {"call": "frames", "every": float(every), "limits": asdict(limits), "streamed": True}
        picture = limits.max_pixels * 3
        expected = Expected(np.uint8, 3, picture * limits.max_frames, picture)
        for piece in self._pieces(self._request(header, source, limits.max_bytes), expected):
            yield piece.seconds, piece.array(np.uint8)

    def close(self) -> None:
        """End the children. Waits for a whole answer that is under way in another thread; iterations that are
        under way raise RuntimeError when they are asked for more."""
        with self._turn:
            with self._lock:
                self._closed = True
                waiting, self._waiting = self._waiting, []
                busy = list(self._busy)
            for child in waiting:
                child.end()
            for child in busy:  # its pipes are closed by whoever reads from them
                child.kill()

    def __enter__(self) -> DecodingWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, header: dict[str, Any], source: MediaSource, max_bytes: int) -> _Request:
        source, name = named(source)
        max_bytes = min(max_bytes, self._memory_bytes // 2)  # the child holds them and works on them
        if not isinstance(source, bytes) and os.fspath(source) == "-":
            source = read_stdin(max_bytes)  # the child's own standard input is this conversation
        payload = source if isinstance(source, bytes) else b""
        check_size(len(payload), max_bytes, name)
        path = None if isinstance(source, bytes) else os.path.abspath(source)
        return _Request(header | {"path": path, "name": name}, payload, name)

    def _whole(self, request: _Request, expected: Expected) -> np.ndarray:
        with self._turn:
            child = self._begin(request)
            try:
                answer = self._read(child, request, partial(collect, child.stdout, expected))
            finally:  # also when the caller is interrupted in the middle of the conversation
                self._put_back(child)
        if isinstance(answer, AffettoError):
            raise answer
        return answer

    def _pieces(self, request: _Request, expected: Expected) -> Iterator[Piece]:
        child, left = self._begin(request), expected.most
        answer: Piece | AffettoError | None = None
        try:
            while True:
                answer = self._read(child, request, partial(receive_piece, child.stdout, expected, left))
                if not isinstance(answer, Piece):
                    break
                left -= len(answer.data)
                yield answer
        finally:
            self._put_back(child)
        if answer is not None:
            raise answer

    def _begin(self, request: _Request) -> _Child:
        """A child that has begun to work on the request."""
        tries = 2
        while True:
            child, tries = self._take(request.name), tries - 1
            try:
                child.await_ready()
                with child.deadline(self._timeout):
                    child.begin(request)
                return child
            except BROKEN_OFF:
                failure = child.failure(request.name, self._timeout)
                self._put_back(child)
                if child.expired or not child.ready or not tries:  # else it was dying when it was asked
                    raise failure from None
            except BaseException:
                self._put_back(child)
                raise

    def _read(self, child: _Child, request: _Request, read: Callable[[], _Answer]) -> _Answer:
        """What `read` reads of the child, in time."""
        try:
            self._refuse_if_closed()
            with child.deadline(self._timeout):
                answer = read()
        except BROKEN_OFF:
            self._refuse_if_closed()
            raise child.failure(request.name, self._timeout) from None
        ended = not isinstance(answer, Piece)
        child.free = ended and getattr(answer, "code", "") not in ("decoder_crashed", "internal")
        return answer

    def _take(self, name: str) -> _Child:
        with self._lock:
            self._refuse_if_closed()
            child = None
            while child is None and self._waiting:
                child = self._waiting.pop()
                if child.process.poll() is not None:
                    # It died while idle, or it is the child of another process that forked this one.
                    child.end()
                    child = None
            try:
                child = child or _Child(self._memory_bytes, self._timeout)
            except OSError as error:
                raise _start_failure(name, str(error.strerror)) from None
            self._busy.add(child)
            return child

    def _put_back(self, child: _Child) -> None:
        with self._lock:
            self._busy.discard(child)
            if child.free and not child.expired and not self._closed and len(self._waiting) < _WAITING:
                self._waiting.append(child)
                return
        child.end()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise RuntimeError("this DecodingWorker is closed")


@dataclass(frozen=True, slots=True)
class _Request:
    """What a child is asked, with the bytes that it is about, if it is not about a path."""

    header: dict[str, Any]
    payload: bytes
    name: str


def _audio_header(
    start: float | None, end: float | None, limits: AudioLimits, block_seconds: float, *, streamed: bool
) -> dict[str, Any]:
    cut = {"start": None if start is None else float(start), "end": None if end is None else float(end)}
    wanted = {"limits": asdict(limits), "block_seconds": block_seconds, "streamed": streamed}
    return {"call": "audio", **cut, **wanted}


def _audio(limits: AudioLimits, block_seconds: float = _WHOLE_BLOCK_SECONDS) -> Expected:
    most = math.ceil(limits.max_seconds * SAMPLE_RATE + 1) * 4
    return Expected(np.float32, 1, most, math.ceil(block_seconds * SAMPLE_RATE + 1) * 4)


class _Child:
    """The process, its pipes, and a clock that ends it. `free`: it has answered and may be asked again."""

    def __init__(self, memory_bytes: int, seconds: float) -> None:
        settings = json.dumps({"memory_bytes": memory_bytes, "seconds": seconds, "owner": os.getpid()})
        self.process = subprocess.Popen(
            # -P: the working folder is not searched for modules.
            [sys.executable, "-P", "-m", "affetto.media.child", settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders complain there, also about sound files
            env=_environment(),
            pipesize=_PIPE_BYTES,
        )
        self.stdin = cast(IO[bytes], self.process.stdin)
        self.stdout = cast(IO[bytes], self.process.stdout)
        self.process.stdin = self.process.stdout = None  # closed with us, though the clock knows the process
        self.ready = self.free = False
        self._clock = Clock(self.process.kill)
        weakref.finalize(self, self._clock.close)

    def await_ready(self) -> None:
        """Wait until the codecs are loaded, which no request's clock should pay for."""
        if not self.ready:
            with self.deadline(_START_SECONDS):
                self.ready = receive(self.stdout)["kind"] == "ready"

    def begin(self, request: _Request) -> None:
        """Hand over a request, until the child says that it has it."""
        self.free = False
        send(self.stdin, request.header, request.payload)
        if receive(self.stdout)["kind"] != "begin":
            raise ValueError("something else than was expected")

    @property
    def expired(self) -> bool:
        """Whether it was killed because it took too long."""
        return self._clock.expired

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """Kill the process when the block takes longer: whoever waits for it then reads the end of a pipe."""
        return self._clock.deadline(seconds)

    def failure(self, name: str, seconds: float) -> MediaError:
        """What to tell the caller about a conversation that broke off."""
        try:
            status = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            status = 0  # still alive: it said something that cannot be understood
        if not self.ready:
            return _start_failure(name, _cause(status))
        if self.expired or _cause(status) == "SIGXCPU":
            return MediaError(
                "decoder_timeout",
                f"{name}: decoding took longer than {seconds:g} s; cut it into parts, or raise the timeout",
            )
        return MediaError(
            "decoder_crashed",
            f"{name}: the decoder died on this file ({_cause(status)}); "
            "it is probably damaged, export it again",
        )

    def kill(self) -> None:
        """Kill the process and take its exit status."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Kill the process and close its pipes."""
        self.kill()
        self._clock.close()
        for pipe in (self.stdin, self.stdout):
            with suppress(OSError):  # a request that could not be written to the end
                pipe.close()


def _start_failure(name: str, cause: str) -> MediaError:
    return MediaError(
        "decoder_unavailable",
        f"{name}: the decoding worker could not start ({cause}); "
        "check that numpy, soundfile, soxr and pillow can be imported",
    )


def _environment() -> dict[str, str]:
    """What the child needs to import what we import, and none of the owner's secrets."""
    keep = ("PATH", "SYSTEMROOT", "TEMP", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONUTF8")
    kept = {name: value for name, value in os.environ.items() if name in keep or name.startswith("LC_")}
    package = str(Path(__file__).parents[2])
    modules = os.pathsep.join([package, *(entry for entry in sys.path if entry)])
    # One thread and one heap: each further one would reserve address space, which is limited.
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    return kept | single | {"PYTHONPATH": modules}


def _cause(status: int) -> str:
    if status >= 0:
        return f"exit status {status}" if status else "an answer that cannot be understood"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
