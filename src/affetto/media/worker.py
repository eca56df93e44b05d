"""Decoding in a process of its own, which may crash, hang or run out of memory without harm to the caller.

    with DecodingWorker() as worker:
        waveform = worker.decode_audio("call.wav")

The child is limited (address space, processor time, open files, no written file, no core dump; where the
platform knows such limits) and is replaced after every failure, which costs one request and never a second.

Both sides speak over the child's standard input and output, in messages of one form: four bytes of length,
a JSON header of that length, and as many raw bytes as its `bytes` says. Nothing that the child says is
executed or unpickled; a child that says something unexpected is replaced.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np

from affetto.errors import CODES, AffettoError, ConfigError, MediaError
from affetto.media.limits import SAMPLE_RATE, AudioLimits, ImageLimits
from affetto.media.source import MediaSource, Named, check_size, named, printable, read_stdin

_LONGEST_HEADER = 64 * 1024
_LONGEST_MESSAGE = 2_000
_START_SECONDS = 60.0
# Four seconds of sound: each time a pipe is full, the two processes must be scheduled in turn.
_PIPE_BYTES = 256 * 1024
# The child is gone, or what it says is not in the language of this file.
_BROKEN_OFF = (OSError, EOFError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError)
_FAMILIES: dict[str, type[AffettoError]] = {"MediaError": MediaError, "ConfigError": ConfigError}


class DecodingWorker:
    """Runs `decode_audio` and `decode_image` in a limited child process; safe to share between threads.

    `timeout` is in seconds of wall clock for each request, and the child's limit of processor time as well;
    `memory_bytes` is the child's address space. The child is started at once and not waited for. Close the
    worker (or use it in a `with` statement); if its owner dies, the child ends by itself.
    """

    def __init__(self, *, timeout: float = 60.0, memory_bytes: int = 512 * 2**20) -> None:
        self._timeout = timeout
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._closed = False
        self._launch()

    @property
    def pid(self) -> int:
        """The process id of the current child."""
        return self._child.process.pid

    def decode_audio(
        self,
        source: MediaSource,
        *,
        start: float | None = None,
        end: float | None = None,
        limits: AudioLimits = AudioLimits(),
    ) -> np.ndarray:
        """As `media.audio.decode_audio`: float32 [N]. Raises decoder_crashed, decoder_timeout as well."""
        cut = {"start": None if start is None else float(start), "end": None if end is None else float(end)}
        header = {"call": "audio", **cut, "limits": asdict(limits)}
        most = math.ceil(limits.max_seconds * SAMPLE_RATE + 1) * 4
        return self._request(header, source, limits.max_bytes, _Answer(np.float32, 1, most))

    def decode_image(self, source: MediaSource, *, limits: ImageLimits = ImageLimits()) -> np.ndarray:
        """As `media.image.decode_image`: uint8 [H W 3]. Raises decoder_crashed, decoder_timeout as well."""
        header = {"call": "image", "limits": asdict(limits)}
        return self._request(header, source, limits.max_bytes, _Answer(np.uint8, 3, limits.max_pixels * 3))

    def close(self) -> None:
        """End the child. Waits for a request that is under way in another thread."""
        with self._lock:
            self._closed = True
            self._child.end()

    def __enter__(self) -> DecodingWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self) -> None:
        self._child = _Child(self._memory_bytes, self._timeout)

    def _request(
        self, header: dict[str, Any], source: MediaSource, max_bytes: int, expected: _Answer
    ) -> np.ndarray:
        source, name = named(source)
        max_bytes = min(max_bytes, self._memory_bytes // 2)  # the child holds them and works on them
        if not isinstance(source, bytes) and os.fspath(source) == "-":
            source = read_stdin(max_bytes)  # the child's own standard input is this conversation
        payload = source if isinstance(source, bytes) else b""
        check_size(len(payload), max_bytes, name)
        path = None if isinstance(source, bytes) else os.path.abspath(source)
        header |= {"path": path, "name": name}
        with self._lock:
            if self._closed:
                raise RuntimeError("this DecodingWorker is closed")
            if self._child.process.poll() is not None:
                try:  # it died while idle, or it is the child of another process that forked this one
                    self._launch()
                except OSError as error:
                    raise _start_failure(name, str(error.strerror)) from None
            child = self._child
            answer = self._converse(header, payload, name, expected)
            if child.ready and not child.begun and not child.expired:  # it was dying when it was asked
                answer = self._converse(header, payload, name, expected)
        if isinstance(answer, AffettoError):
            raise answer
        return answer

    def _converse(
        self, header: dict[str, Any], payload: bytes, name: str, expected: _Answer
    ) -> np.ndarray | AffettoError:
        child, healthy = self._child, False
        try:
            child.await_ready()
            child.begun = False
            with child.deadline(self._timeout):
                _send(child.stdin, header, payload)
                child.begun = _receive(child.stdout)["kind"] == "begun"
                answer = _collect(child.stdout, expected)
            healthy = not child.expired and getattr(answer, "code", "") not in ("decoder_crashed", "internal")
            return answer
        except _BROKEN_OFF:
            return child.failure(name, self._timeout)
        finally:  # also when the caller is interrupted in the middle of the conversation
            if not healthy:
                child.end()
                with suppress(OSError):  # the next request tries again, and tells
                    self._launch()


class _Child:
    """The process, its pipes, and a clock that ends it."""

    def __init__(self, memory_bytes: int, seconds: float) -> None:
        settings = json.dumps({"memory_bytes": memory_bytes, "seconds": seconds, "owner": os.getpid()})
        self.process = subprocess.Popen(
            # -P: the working folder is not searched for modules.
            [sys.executable, "-P", "-m", "affetto.media.worker", settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders complain there, also about sound files
            env=_environment(),
            pipesize=_PIPE_BYTES,
        )
        self.stdin = cast(IO[bytes], self.process.stdin)
        self.stdout = cast(IO[bytes], self.process.stdout)
        self.ready = self.begun = self.expired = False

    def await_ready(self) -> None:
        """Wait until the codecs are loaded, which no request's clock should pay for."""
        if not self.ready:
            with self.deadline(_START_SECONDS):
                self.ready = _receive(self.stdout)["kind"] == "ready"

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Kill the process when the block takes longer: whoever waits for it then reads the end of a pipe."""
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _expire(self) -> None:
        self.expired = True
        self.process.kill()

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

    def end(self) -> None:
        """Kill the process, take its exit status and close its pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.stdin, self.stdout):
            with suppress(OSError):  # a request that could not be written to the end
                pipe.close()


def _start_failure(name: str, cause: str) -> MediaError:
    return MediaError(
        "decoder_crashed",
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


# --- messages -----------------------------------------------------------------------------------------------


def _send(pipe: IO[bytes] | BinaryIO, header: dict[str, Any], payload: Any = b"") -> None:
    payload = memoryview(payload).cast("B")
    text = json.dumps(header | {"bytes": len(payload)}).encode()
    pipe.write(len(text).to_bytes(4, "big") + text)
    pipe.write(payload)
    pipe.flush()


def _receive(pipe: IO[bytes] | BinaryIO) -> dict[str, Any]:
    """The next header; its payload is still in the pipe. Raises EOFError, or ValueError for nonsense."""
    length = int.from_bytes(_read(pipe, 4), "big")
    if length > _LONGEST_HEADER:
        raise ValueError("a header that is too long")
    header = json.loads(_read(pipe, length))
    if not isinstance(header, dict):
        raise ValueError("a header that is not an object")
    return header


def _read(pipe: IO[bytes] | BinaryIO, count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError
    return data


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is expected of the child: the type and number of dimensions of an array, and its most bytes."""

    dtype: Any
    dimensions: int
    most: int


def _collect(pipe: IO[bytes], expected: _Answer) -> np.ndarray | AffettoError:
    """Join the pieces of an array, which are cut along its first dimension, until `done`; or an error."""
    data = bytearray()
    rest: tuple[int, ...] = (3,) * (expected.dimensions - 1)
    while True:
        header = _receive(pipe)
        if header["kind"] == "done":
            return np.frombuffer(data, expected.dtype).reshape(-1, *rest)
        if header["kind"] == "error":
            if header["code"] not in CODES:
                raise ValueError("an unknown code")
            family = _FAMILIES.get(header["family"], AffettoError)
            return family(header["code"], printable(str(header["message"]))[:_LONGEST_MESSAGE])
        count, rest = int(header["bytes"]), tuple(int(size) for size in header["shape"][1:])
        if not 0 <= count <= expected.most - len(data) or len(rest) != expected.dimensions - 1:
            raise ValueError("another answer than was asked for")
        piece = bytearray(count)
        if pipe.readinto(piece) < count:  # type: ignore[attr-defined]
            raise EOFError
        if data:
            data += piece
        else:
            data = piece  # a picture comes in one piece: held once, not twice


# --- the child ----------------------------------------------------------------------------------------------


def main() -> None:
    """Answer requests until standard input ends. Started by `DecodingWorker`, not by people."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to handle
    settings = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec may print must not get between the messages
    from affetto.media import audio, image  # noqa: F401  (before the limits, while the owner does other work)

    _limit(settings["memory_bytes"])
    threading.Thread(target=_end_with, args=(settings["owner"],), daemon=True).start()
    _send(answers, {"kind": "ready"})
    with suppress(EOFError):
        while True:
            header = _receive(sys.stdin.buffer)
            _send(answers, {"kind": "begun"})
            payload = _read(sys.stdin.buffer, header["bytes"])
            _renew_processor_time(settings["seconds"])
            _answer(answers, header, payload)


def _end_with(owner: int) -> None:
    """End this process with its owner, even in the middle of a decoder, or where a fork of the owner keeps
    our standard input open. Linux can do so itself (PR_SET_PDEATHSIG), but for the death of the *thread*
    that started us. Windows tells no death: there, the end of standard input has to do.
    """
    while os.getppid() == owner:
        time.sleep(0.5)
    os._exit(0)


def _answer(pipe: BinaryIO, header: dict[str, Any], payload: bytes) -> None:
    name = header["name"]
    try:
        for array in _decode(header, Named(payload if header["path"] is None else header["path"], name)):
            _send(pipe, {"kind": "array", "shape": array.shape}, np.ascontiguousarray(array))
        _send(pipe, {"kind": "done"})
        return
    except BrokenPipeError:
        os._exit(0)
    except AffettoError as error:
        family, code, message = type(error).__name__, error.code, str(error)
    except MemoryError:
        family, code = "MediaError", "decoder_crashed"
        message = f"{name}: needs more memory than the decoding worker may use; cut or shrink it"
    except Exception as error:
        family, code = "AffettoError", "internal"
        message = f"{name}: {type(error).__name__} in the decoder, a fault of affetto; please report it"
    _send(pipe, {"kind": "error", "family": family, "code": code, "message": message})


def _decode(header: dict[str, Any], source: Named) -> Iterator[np.ndarray]:
    from affetto.media.audio import iter_audio
    from affetto.media.image import decode_image

    if header["call"] == "image":
        yield decode_image(source, limits=ImageLimits(**header["limits"]))
        return
    limits = AudioLimits(**header["limits"])
    yield from iter_audio(source, start=header["start"], end=header["end"], limits=limits, block_seconds=10.0)


def _limit(memory_bytes: int) -> None:
    """Bound what a decoder gone wrong can do. Platforms without a limit go without it."""
    sys.dont_write_bytecode = True
    try:
        import resource
    except ImportError:  # Windows
        return
    values = {"RLIMIT_AS": memory_bytes, "RLIMIT_NOFILE": 16, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for limit, value in values.items():
        try:
            resource.setrlimit(getattr(resource, limit), (value, value))
        except (AttributeError, ValueError, OSError):  # macOS has them not all
            continue


def _renew_processor_time(seconds: float) -> None:
    """Allow `seconds` more. It ends a decoder that runs wild when the owner is not there to do it."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    main()
