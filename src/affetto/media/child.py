"""The process in which a `DecodingWorker` decodes: it limits itself and answers requests until it is left."""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from affetto.errors import AffettoError
from affetto.media.limits import AudioLimits, ImageLimits, VideoLimits
from affetto.media.messages import read, receive, send
from affetto.media.source import Named

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # of Linux' sched.h


def main() -> None:
    """Answer requests until standard input ends. Started by `DecodingWorker`, not by people."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to handle
    settings = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec may print must not get between the messages
    from affetto.media import audio, image  # noqa: F401  (before the limits, while the owner does other work)

    _limit(settings["memory_bytes"])
    _leave_network()
    threading.Thread(target=_end_with, args=(settings["owner"],), daemon=True).start()
    send(answers, {"kind": "ready"})
    with suppress(EOFError):
        while True:
            header = receive(sys.stdin.buffer)
            send(answers, {"kind": "begin"})
            payload = read(sys.stdin.buffer, header["bytes"])
            _renew_processor_time(settings["seconds"])
            _answer(answers, header, payload, settings["seconds"])


def _end_with(owner: int) -> None:
    """End this process with its owner, even in the middle of a decoder, or where a fork of the owner keeps
    our standard input open. Linux can do so itself (PR_SET_PDEATHSIG), but for the death of the *thread*
    that started us. Windows tells no death: there, the end of standard input has to do.
    """
    while os.getppid() == owner:
        time.sleep(0.5)
    os._exit(0)


def _answer(pipe: BinaryIO, header: dict[str, Any], payload: bytes, seconds: float) -> None:
    name = header["name"]
    try:
        source = Named(payload if header["path"] is None else header["path"], name)
        for described, array in _decode(header, source):
            message = {"kind": "array", "shape": array.shape, **described}
            send(pipe, message, np.ascontiguousarray(array))
            if header["streamed"]:  # as long as it gets on, it may take as long as it likes
                _renew_processor_time(seconds)
        send(pipe, {"kind": "done"})
        return
    except BrokenPipeError:
        os._exit(0)
    except AffettoError as error:
        family, code, text = type(error).__name__, error.code, str(error)
    except MemoryError:
        family, code = "MediaError", "decoder_crashed"
        text = f"{name}: needs more memory than the decoding worker may use; cut or shrink it"
    except Exception as error:
        family, code = "AffettoError", "internal"
        text = f"{name}: {type(error).__name__} in the decoder, a fault of affetto; please report it"
    send(pipe, {"kind": "error", "family": family, "code": code, "message": text})


def _decode(header: dict[str, Any], source: Named) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """The arrays of an answer, each with what else is to be said of it."""
    if header["call"] == "image":
        from affetto.media.image import decode_image

        yield {}, decode_image(source, limits=ImageLimits(**header["limits"]))
    elif header["call"] == "frames":
        from affetto.media.video import iter_frames

        limits = VideoLimits(**header["limits"])
        for seconds, picture in iter_frames(source, every=header["every"], limits=limits):
            yield {"seconds": seconds}, picture
    else:
        from affetto.media.audio import iter_audio

        options = {name: header[name] for name in ("start", "end", "block_seconds")}
        for block in iter_audio(source, limits=AudioLimits(**header["limits"]), **options):
            yield {}, block


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


def _leave_network() -> None:
    """Move into a network of this process alone, which leads nowhere, where the kernel grants one. Has to come
    before threads are started."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if libc.unshare(_CLONE_NEWNET) != 0:  # without privileges, in a user namespace too
            libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


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
