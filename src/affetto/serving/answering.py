"""What a worker does: a Predictor behind calls, whole items and streams. Runs in the worker's process."""

from __future__ import annotations

import io
import json
import struct
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from affetto.align.clock import HOP, RATE
from affetto.align.words import read_words
from affetto.errors import AffettoError, MediaError
from affetto.media.containers import VIDEO, sniff
from affetto.media.limits import AudioLimits, ImageLimits
from affetto.media.source import Named
from affetto.predictor import Predictor, Session
from affetto.records import Word
from affetto.serving.calls import Call, Reply
from affetto.serving.limits import Limits

if TYPE_CHECKING:
    from affetto.serving.finding import Finding

#: Formats of samples in a stream: name to numpy type.
FORMATS: dict[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}


class Decoding:
    """A decoder that keeps the server's limits and calls uploads by the names of their fields."""

    def __init__(self, decoder: Any, limits: Limits) -> None:
        self._decoder = decoder
        self._audio = AudioLimits(max_seconds=limits.seconds, max_bytes=limits.body_bytes)
        self._image = ImageLimits(max_pixels=limits.pixels, max_bytes=limits.body_bytes)

    def iter_audio(self, source: str | Path | bytes, **options: Any) -> Iterator[np.ndarray]:
        return self._decoder.iter_audio(Named(source, "audio_file"), **{**options, "limits": self._audio})

    def decode_image(self, source: str | Path | bytes) -> np.ndarray:
        return self._decoder.decode_image(Named(source, "image_file"), limits=self._image)

    def iter_frames(self, source: str | Path | bytes, **options: Any) -> Iterator[tuple[float, np.ndarray]]:
        raise _no_video("image_file", "a film")


class Answering:
    """Answers calls with one Predictor, whose decoder should be a `Decoding`. Not shared by threads."""

    def __init__(self, predictor: Predictor, limits: Limits, finding: Finding | None = None) -> None:
        self._predictor = predictor
        self._limits = limits
        self._finding = finding
        self._streams: dict[int, _Stream] = {}

    def handle(self, call: Call) -> Reply:
        """The reply to a call; errors are replies too, so that nothing that a client sends ends a worker."""
        try:
            return getattr(self, f"_{call.name}")(call)
        except AffettoError as error:
            if error.code == "internal":
                report_fault(error)
            return Reply({"error": error.code, "message": str(error)})
        except Exception as error:
            report_fault(error)
            return Reply({"error": "internal", "message": type(error).__name__})

    def model(self) -> dict[str, Any]:
        """What clients may know of the model."""
        info = self._predictor.bundle.info
        part = info.parts.text
        return {
            "labels": list(self._predictor.labels),
            "modalities": list(info.parts.modalities()),
            "languages": list(part.languages) if part else [],
            "tasks": [{"name": t.name, "kind": t.kind, "labels": list(t.labels)} for t in info.tasks],
            "model": {
                "name": info.name,
                "version": info.version,
                "sha256": self._predictor.bundle.sha256,
                "licence": info.licence,
                "precision": self._predictor.precision,
            },
            "hop": HOP,
            "index": None if self._finding is None else self._finding.facts(),
        }

    def warm(self) -> None:
        """One forward pass per modality, so that the first client waits for nothing and a model that cannot
        answer (a NaN among its weights) is refused now. Raises what predicting raises."""
        inputs = {"speech": _hum(), "text": "a few words", "vision": np.full((64, 64, 3), 128, np.uint8)}
        known = self._predictor.bundle.info.parts.modalities()
        self._predictor.prepare(known)
        given: dict[str, Any] = {name: inputs[name] for name in known}
        for name, value in given.items():
            self._predictor.predict(**{name: value})
        self._predictor.predict(**given)

    def _predict(self, call: Call) -> Reply:
        facts, given = call.facts, dict(zip(call.facts["given"], call.blobs, strict=True))
        for name in ("audio", "image"):
            _refuse_video(given.get(name), f"{name}_file")
        began = perf_counter()
        speech: Any = given.get("audio")
        if "waveform" in given:
            speech = np.frombuffer(given["waveform"], "<f4")
        prediction = self._predictor.predict(
            speech=speech,
            text=given["text"].decode() if "text" in given else None,
            vision=cast(bytes | None, given.get("image")),
            words=_words(given.get("words")),
            timeline=facts["timeline"],
            labels=facts["labels"],
            language=facts["language"],
            file=facts["file"],
        )
        model = prediction.elapsed
        seconds = {"decode": perf_counter() - began - model, "model": model}
        return Reply({"unsure": prediction.abstained, "seconds": seconds}, _encoded(prediction.to_dict()))

    def _search(self, call: Call) -> Reply:
        assert self._finding is not None
        return self._finding.search(query=bytes(call.blobs[0]), **call.facts)

    def _open(self, call: Call) -> Reply:
        facts, beside = call.facts, json.loads(call.blobs[0])
        session = self._predictor.stream(
            text=beside["text"],
            timeline=facts["timeline"],
            labels=facts["labels"],
            language=facts["language"],
            file=facts["file"],
        )
        session.feed(np.zeros(0, np.float32), _timed(beside["words"]))
        self._streams[facts["stream"]] = _Stream(session, facts["format"], facts["rate"])
        return Reply({})

    def _feed(self, call: Call) -> Reply:
        stream = self._streams[call.facts["stream"]]
        samples, words = call.blobs
        segments = stream.session.feed(stream.samples(samples), _timed(json.loads(words or b"[]")))
        if not segments:
            return Reply({})
        return Reply({"count": len(segments)}, _encoded([segment.to_dict() for segment in segments]))

    def _finish(self, call: Call) -> Reply:
        stream = self._streams.pop(call.facts["stream"])
        stream.session.feed(stream.rest())
        prediction = stream.session.finish()
        return Reply({"unsure": prediction.abstained}, _encoded(prediction.to_dict()))

    def _drop(self, call: Call) -> Reply:
        self._streams.pop(call.facts["stream"], None)
        return Reply({})


@dataclass
class _Stream:
    """A session, and the format and rate of the samples that come for it."""

    session: Session
    format: str
    rate: int

    def __post_init__(self) -> None:
        self._resampler = None
        if self.rate != RATE:
            import soxr

            self._resampler = soxr.ResampleStream(self.rate, RATE, 1, dtype="float32", quality="HQ")

    def samples(self, data: bytes | bytearray) -> np.ndarray:
        """Bytes of whole samples as float32 [n] at 16 kHz. Raises MediaError audio_not_finite."""
        values = np.frombuffer(data, FORMATS[self.format])
        scale = 32768 if self.format == "s16le" else 1
        heard = (values / np.float32(scale)).astype(np.float32)
        if not np.isfinite(heard).all():
            raise MediaError("audio_not_finite", "the stream holds NaN or infinite samples: send finite ones")
        return heard if self._resampler is None else self._resampler.resample_chunk(heard).clip(-1, 1)

    def rest(self) -> np.ndarray:
        """What the resampler still holds, as float32 [n]."""
        if self._resampler is None:
            return np.zeros(0, np.float32)
        return self._resampler.resample_chunk(np.zeros(0, np.float32), last=True).clip(-1, 1)


def report_fault(error: Exception) -> None:
    """One line on standard error: the kind of a fault and where it was, never what the client sent."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].name} line {frames[-1].lineno}" if frames else "an unknown place"
    with suppress(OSError):
        print(f"affetto worker: {type(error).__name__} in {place}", file=sys.stderr, flush=True)


def _encoded(answer: Any) -> bytes:
    return json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def _words(data: bytes | bytearray | None) -> Sequence[Word]:
    return () if data is None else read_words(bytes(data)).words


def _timed(words: Sequence[Any]) -> list[Word]:
    return [Word(word["text"], word["start"], word["end"]) for word in words]


def _refuse_video(data: bytes | bytearray | None, name: str) -> None:
    """Films need FFmpeg's codecs, which no stranger's bytes may reach. Raises MediaError video_unsupported."""
    if data is not None:
        sniffed = sniff(io.BytesIO(memoryview(data)[: 64 * 1024]))
        if sniffed.container in VIDEO:
            raise _no_video(name, sniffed.title)


def _no_video(name: str, title: str) -> MediaError:
    return MediaError(
        "video_unsupported",
        f"{name}: {title}, which the server does not open; send WAV, FLAC, OGG or MP3, and JPEG, PNG or WebP",
    )


def _hum() -> bytes:
    """A second of a hum as a WAV file: passes through the decoder as an upload does."""
    times = np.arange(RATE) / RATE
    wave = sum(np.sin(2 * np.pi * 140 * n * times) / n for n in range(1, 20)) * (
        1 + np.sin(8 * np.pi * times)
    )
    samples = (4000 * wave).clip(-32767, 32767).astype("<i2").tobytes()
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16
    )
    return head + struct.pack("<4sI", b"data", len(samples)) + samples
