"""The process that answers: a Predictor and its decoding worker, asked over standard input and output.

Started by `affetto.serving.workers`, not by people. It ends with its owner, whatever way the owner ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any, BinaryIO

from affetto.errors import AffettoError, BundleError
from affetto.media.messages import read, receive, send
from affetto.media.worker import DecodingWorker
from affetto.serving.limits import Limits

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Open the bundle, answer once for each modality, say so, and answer calls until standard input ends."""
    settings = json.loads(sys.argv[1])
    _end_with(settings["owner"])
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # the owner's to handle
        signal.signal(ignored, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library may print must not get between the messages
    limits = Limits(**settings["limits"])
    with DecodingWorker(timeout=limits.decode_seconds) as decoder:
        try:
            answering = _open(settings, decoder, limits)
        except AffettoError as error:
            send(replies, {"kind": "refused", "code": error.code, "message": str(error)[:2000]})
            return
        send(replies, {"kind": "ready", "model": answering.model()})
        with suppress(EOFError, BrokenPipeError):
            while True:
                _answer(answering, replies)


def _open(settings: dict[str, Any], decoder: DecodingWorker, limits: Limits) -> Any:
    """The Answering of a bundle, warmed. Raises BundleError, also where the bundle is another than expected."""
    from affetto.predictor import load
    from affetto.serving.answering import Answering, Decoding

    decoding, store = Decoding(decoder, limits), None
    if settings["index"] is not None:
        from affetto.search import Store

        store = Store(settings["index"])
    bundle = settings["bundle"] or (store.origin.path if store else None)
    predictor = load(bundle, precision=settings["precision"], decoder=decoding)
    expected = settings["expected"]
    if expected not in (None, predictor.bundle.sha256):
        raise BundleError(
            "bundle_tampered", f"{predictor.bundle.path} was replaced: tell the server to take it with SIGHUP"
        )
    finding = None
    if store is not None:
        from affetto.serving.finding import Finding

        finding = Finding(store, predictor, decoding)
    answering = Answering(predictor, limits, finding)
    try:
        answering.warm()
    except AffettoError as error:
        raise BundleError("bundle_invalid", f"the bundle cannot answer a first time: {error}") from error
    return answering


def _answer(answering: Any, replies: BinaryIO) -> None:
    from affetto.serving.calls import Call

    header = receive(sys.stdin.buffer)
    blobs = tuple(read(sys.stdin.buffer, size) for size in header["sizes"])
    reply = answering.handle(Call(header["name"], header["facts"], blobs))
    send(replies, {"facts": reply.facts}, reply.data)


def _end_with(owner: int) -> None:
    """Let the kernel kill this process when its owner dies; elsewhere than on Linux, the end of standard
    input has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != owner:  # it died before that
        os._exit(0)


if __name__ == "__main__":
    main()
