"""What a caller may hand in, and what opens it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from affetto.align.clock import RATE
from affetto.bundle import FeaturesPart
from affetto.errors import DataError, MediaError
from affetto.media.containers import VIDEO, sniff
from affetto.media.limits import LONG_AUDIO, LONG_VIDEO, AudioLimits, VideoLimits
from affetto.media.source import open_source
from affetto.records import Word

T = TypeVar("T")

#: When, in seconds, and a face crop [3 S S] in [0, 1].
Face = tuple[float, np.ndarray]

_HIGHEST = 8.0  # 18 dB over full scale: samples beyond are numbers of another scale

Source = str | Path | bytes | np.ndarray


class Decoder(Protocol):
    """What opens media: the `affetto.media` package, or its DecodingWorker."""

    def iter_audio(
        self,
        source: str | Path | bytes,
        *,
        start: float | None = None,
        end: float | None = None,
        limits: AudioLimits = LONG_AUDIO,
        block_seconds: float = 1.0,
    ) -> Iterator[np.ndarray]: ...

    def iter_frames(
        self, source: str | Path | bytes, *, every: float, limits: VideoLimits = LONG_VIDEO
    ) -> Iterator[tuple[float, np.ndarray]]: ...

    def decode_image(self, source: str | Path | bytes) -> np.ndarray: ...


@dataclass(frozen=True)
class Item:
    """What one call was given."""

    speech: Source | None = None
    text: str | None = None
    vision: Source | None = None
    words: Sequence[Word] = ()
    start: float | None = None
    end: float | None = None
    language: str | None = None
    file: str | None = None

    @property
    def name(self) -> str | None:
        """The name to answer with."""
        named = (s for s in (self.speech, self.vision) if isinstance(s, (str, Path)))
        return self.file or next(map(str, named), None)


def is_video(source: Source | None) -> bool:
    """Whether a source holds moving pictures, by its first bytes; False for what cannot be opened."""
    if source is None or isinstance(source, np.ndarray):
        return False
    try:
        with open_source(source, max_bytes=LONG_VIDEO.max_bytes) as opened:
            return sniff(opened.file).container in VIDEO
    except MediaError:
        return False


def unless(code: str, pieces: Iterator[T]) -> Iterator[T]:
    """The pieces, ending quietly at an error of this code: a film may be silent, or a black screen."""
    try:
        yield from pieces
    except MediaError as error:
        if error.code != code:
            raise


def together(sound: Iterator[np.ndarray], faces: Iterator[Face]) -> Iterator[tuple[np.ndarray, list[Face]]]:
    """Blocks of sound with the faces seen until their ends; faces after the last come with empty blocks."""
    heard, face = 0, next(faces, None)
    for samples in sound:
        heard += len(samples)
        seen = []
        while face is not None and face[0] * RATE < heard:
            seen.append(face)
            face = next(faces, None)
        yield samples, seen
    while face is not None:
        yield np.zeros(0, np.float32), [face]
        face = next(faces, None)


def blocks(samples: np.ndarray, start: float | None, end: float | None) -> Iterator[np.ndarray]:
    """An array of samples [N] cut to [start, end) seconds, in blocks of a second.

    Raises MediaError `audio_corrupt`, `audio_empty`, `audio_not_finite`, `audio_silent`.
    """
    first, last = (None if t is None else int(t * RATE) for t in (start, end))
    checked = checked_samples(samples)[first:last]
    if not len(samples):
        raise MediaError("audio_empty", "speech is an array of no samples: give a recording")
    if not samples.any():
        raise MediaError("audio_silent", "every sample of the speech is 0: give a recording with sound")
    for at in range(0, len(checked), RATE):
        yield checked[at : at + RATE]


def checked_pixels(pixels: np.ndarray) -> np.ndarray:
    """Pixels [H W 3] uint8 as they are, or MediaError `image_corrupt`."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        found = f"{pixels.dtype} {list(pixels.shape)}"
        raise MediaError("image_corrupt", f"vision is an array {found}: expected uint8 pixels [H W 3], RGB")
    return pixels


def checked_features(modality: str, values: ArrayLike, parts: Mapping[str, FeaturesPart]) -> np.ndarray:
    """Precomputed features [T F] float32 of a modality, from [F] or [T F], or DataError `features_invalid`."""
    if modality not in parts:
        known = ", ".join(parts) or "no modality"
        raise DataError("features_invalid", f"features of {modality!r}: the model takes those of {known}")
    size = parts[modality].size
    try:
        steps = np.atleast_2d(np.asarray(values, np.float32))
    except (ValueError, TypeError):
        raise DataError("features_invalid", f"features of {modality}: expected numbers") from None
    if steps.ndim != 2 or steps.shape[1] != size or not len(steps):
        found = list(np.shape(values))
        raise DataError(
            "features_invalid",
            f"features of {modality} are an array {found}: expected [{size}], or [T, {size}]",
        )
    if not np.isfinite(steps).all():
        raise DataError("features_invalid", f"features of {modality} hold NaN or infinite values: clean it")
    return steps


def checked_samples(samples: np.ndarray) -> np.ndarray:
    """Samples [n] as float32, or MediaError `audio_corrupt`, `audio_not_finite`."""
    found = f"{samples.dtype} {list(samples.shape)}"
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise MediaError("audio_corrupt", f"speech is an array {found}: expected float samples [N] at 16 kHz")
    if not np.isfinite(samples).all():
        raise MediaError("audio_not_finite", "speech holds NaN or infinite samples: clean the array first")
    loudest = float(np.abs(samples).max(initial=0.0))
    if loudest > _HIGHEST:
        raise MediaError(
            "audio_corrupt",
            f"speech holds a sample of {loudest:.6g}, expected -1 to 1: divide it by its full scale, which is "
            "32768 for 16-bit samples",
        )
    return samples.astype(np.float32, copy=False)
