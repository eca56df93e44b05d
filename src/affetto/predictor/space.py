"""Media to places in the one space of a bundle with towers; windows of a long recording to their mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from affetto.align import activity
from affetto.align.clock import RATE
from affetto.bundle import Bundle, EmbeddingInfo, SpeechPart
from affetto.errors import BundleError, MediaError
from affetto.predictor.parts import Parts


def space_of(bundle: Bundle) -> EmbeddingInfo:
    """The space that a bundle's media share. Raises BundleError `no_shared_space` where there is none."""
    if bundle.info.embedding is None:
        raise BundleError(
            "no_shared_space",
            f"the bundle {bundle.info.name} has no towers, so its media have no place in one space: "
            'train one with model.fusion.name "towers", as `affetto train digits` does, and give it with --bundle',
        )
    return bundle.info.embedding


def embed_speech(parts: Parts, blocks: Iterable[np.ndarray], name: str) -> np.ndarray:
    """Blocks of samples to one place [D]: that of each window of the part, weighted by its length.

    As in training, what is no speech before and after is cut off where the part says so. Raises MediaError
    `audio_too_short`.
    """
    part = parts.bundle.info.parts.speech
    assert part is not None
    total: np.ndarray | None = None
    for samples in windows(blocks, part):
        if len(samples) < part.min_seconds * RATE:
            raise MediaError(
                "audio_too_short",
                f"{name} lasts {len(samples) / RATE:.2f} s, the model needs at least {part.min_seconds:g} s: "
                "give a longer recording",
            )
        place = len(samples) * parts.embedding("speech", parts.speech(_cut(samples, part)))
        total = place if total is None else total + place
    if total is None:
        raise MediaError("audio_empty", f"{name} holds no sound: give a recording")
    return unit(total)


def unit(values: np.ndarray) -> np.ndarray:
    """Rows [... D] at unit length, float32; what has no direction stays zero."""
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return (values / np.maximum(lengths, 1e-12)).astype(np.float32)


def windows(blocks: Iterable[np.ndarray], part: SpeechPart) -> Iterator[np.ndarray]:
    """Windows of the part's length; a remainder shorter than the part needs joins the window before it."""
    size, least = round(part.window_seconds * RATE), round(part.min_seconds * RATE)
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block.astype(np.float32)])
        while len(held) >= size + least:
            yield held[:size]
            held = held[size:]
    if len(held):
        yield held


def _cut(samples: np.ndarray, part: SpeechPart) -> np.ndarray:
    if part.margin_seconds is None:
        return samples
    probability = activity.speech_probability(samples)
    first, last = activity.trimmed(probability, len(samples), part.margin_seconds)
    return samples[first:last]
