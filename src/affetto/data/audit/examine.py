"""What is measured of a medium before anything is trained on it: of a recording its edges, levels and band; of
a picture its size. Every medium is decoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from affetto.align.clock import RATE
from affetto.data.audit.copies import Print, fingerprint
from affetto.errors import AffettoError
from affetto.records import Clip

_HOP = 160  # samples
_QUIET = 0.03  # of the loudest 10 ms: 30 dB below it nothing is said
_AUDIBLE = 1e-7  # of the power of the strongest frequency
_EDGE = 0.02  # seconds, the very end of a recording
_SIDE_BY_SIDE = 2
_THUMB = 16  # pixels
_SMALLEST = 32  # pixels: smaller pictures are alike without being copies


class Decoder(Protocol):
    """What opens media: the `affetto.media` package, or its DecodingWorker."""

    def decode_audio(
        self, source: str, *, start: float | None = None, end: float | None = None
    ) -> NDArray[np.float32]: ...

    def decode_image(self, source: str) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Examined:
    """What was found out about the medium of a clip, or the error that kept it from being opened.

    facts of a recording: seconds; lead, tail (seconds before and after the sound); end (level of the last
    20 ms over that of the whole, dB); peak, clipped (share of samples at the peak); level, floor (dB below
    full scale: of the whole, of its quietest tenth); band (Hz, the highest within 70 dB of the strongest).
    """

    clip: Clip
    error: AffettoError | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    sha256: str | None = None
    print: Print | None = None
    thumb: NDArray[np.float32] | None = None


def examine(clips: Iterable[Clip], decoder: Decoder) -> Iterator[Examined]:
    """Every clip that has a recording or a picture, in order. A medium that cannot be opened is no error here."""
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
        waiting: list = []
        for clip in clips:
            for look, source in ((_recording, clip.speech), (_picture, clip.vision)):
                if source is not None and ".npz" not in source and not source.endswith(".npy"):
                    waiting.append(threads.submit(_tried, look, clip, decoder))
            while len(waiting) > 2 * _SIDE_BY_SIDE:
                yield waiting.pop(0).result()
        for one in waiting:
            yield one.result()


def facts_of(samples: NDArray[np.float32]) -> dict[str, float]:
    """The facts of a recording [N] at 16 kHz, as `Examined` lists them."""
    peak = float(np.abs(samples).max(initial=0.0))
    power = float((samples.astype(np.float64) ** 2).mean())
    frames = np.sqrt((_framed(samples) ** 2).mean(axis=1)) if len(samples) >= _HOP else np.array([peak])
    loud = np.flatnonzero(frames > _QUIET * max(float(frames.max()), 1e-9))
    first, last = (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (len(frames), len(frames))
    end = float((samples[-round(_EDGE * RATE) :].astype(np.float64) ** 2).mean())
    return {
        "seconds": len(samples) / RATE,
        "lead": first * _HOP / RATE,
        "tail": max(len(samples) - last * _HOP, 0) / RATE,
        "end": _decibels(end / max(power, 1e-12)),
        "peak": peak,
        "clipped": float((np.abs(samples) >= 0.999 * peak).mean()) if peak else 0.0,
        "level": _decibels(power),
        "floor": _decibels(float(np.percentile(frames, 10)) ** 2),
        "band": _band(samples),
    }


def _tried(look: Callable[[Clip, Decoder], Examined], clip: Clip, decoder: Decoder) -> Examined:
    try:
        return look(clip, decoder)
    except AffettoError as error:
        return Examined(clip, error)


def _recording(clip: Clip, decoder: Decoder) -> Examined:
    samples = decoder.decode_audio(str(clip.speech), start=clip.start, end=clip.end)
    return Examined(clip, None, facts_of(samples), _hash(samples), fingerprint(samples))


def _picture(clip: Clip, decoder: Decoder) -> Examined:
    pixels = decoder.decode_image(str(clip.vision))
    height, width = pixels.shape[:2]
    facts = {"height": float(height), "width": float(width)}
    return Examined(clip, None, facts, _hash(pixels), None, _thumb(pixels))


def _thumb(pixels: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """[256] of norm 1: 16 x 16 grey levels about their mean; None for a picture that is small or blank."""
    from PIL import Image

    if min(pixels.shape[:2]) < _SMALLEST:
        return None
    grey = Image.fromarray(pixels).convert("L").resize((_THUMB, _THUMB), Image.Resampling.BOX)
    levels = np.asarray(grey, np.float32).ravel()
    levels -= levels.mean()
    size = float(np.linalg.norm(levels))
    return levels / size if size > _THUMB else None


def _framed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return samples[: len(samples) - len(samples) % _HOP].reshape(-1, _HOP)


def _band(samples: NDArray[np.float32]) -> float:
    """Hz of the highest frequency that is within 70 dB of the strongest one, in the loudest second."""
    size = 512
    if len(samples) < size:
        return 0.0
    frames = samples[: len(samples) - len(samples) % size].reshape(-1, size)
    loudest = frames[np.argsort(-(frames**2).sum(axis=1))[:32]]
    power = (np.abs(np.fft.rfft(loudest * np.hanning(size).astype(np.float32), axis=1)) ** 2).mean(axis=0)
    return float(np.flatnonzero(power >= _AUDIBLE * power.max())[-1] * RATE / size)


def _decibels(power: float) -> float:
    return 10 * float(np.log10(max(power, 1e-12)))


def _hash(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
