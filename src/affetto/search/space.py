"""What a clip's vectors are, and what a query's vector is: in either, near means alike.

A bundle with towers has a space of its own. One without still hears emotions: there the vector of a medium is
the square root of its calibrated probabilities. It has unit length, and the dot product of two is the overlap of
the two profiles (Bhattacharyya 1943): 1 where they are the same, 0 where they share no emotion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from affetto.errors import DataError, MediaError
from affetto.labels import canonical
from affetto.media.limits import LONG_AUDIO
from affetto.predictor import EMOTION, Predictor
from affetto.predictor.inputs import Decoder, Source, is_video
from affetto.predictor.space import windows
from affetto.predictor.zero_shot import heard
from affetto.records import Clip, Prediction
from affetto.search.store import Origin

_BLOCK_SECONDS = 5.0


class Space(Protocol):
    """Media of one kind of bundle to vectors [D] of unit length; errors as `Predictor.embed` raises them."""

    @property
    def kind(self) -> str:
        """How an index calls it."""

    @property
    def width(self) -> int:
        """D."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Which media have a vector."""

    def place(
        self, speech: Source | None = None, text: str | None = None, vision: Source | None = None
    ) -> np.ndarray:
        """The vector of just one medium; of speech at most a window."""

    def words(self, text: str) -> np.ndarray:
        """The vector of words that a search asks for."""


@dataclass(frozen=True)
class Embeddings:
    """The one space of a bundle with towers."""

    predictor: Predictor
    kind: str = "embedding"

    @property
    def width(self) -> int:
        return self.predictor.space.width

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.predictor.space.modalities)

    def place(
        self, speech: Source | None = None, text: str | None = None, vision: Source | None = None
    ) -> np.ndarray:
        return self.predictor.embed(speech, text, vision)

    def words(self, text: str) -> np.ndarray:
        return self.predictor.embed(text=text)


@dataclass(frozen=True)
class Emotions:
    """The profile of emotions of a bundle without towers."""

    predictor: Predictor
    kind: str = "emotions"

    @property
    def width(self) -> int:
        return len(self.predictor.labels)

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.predictor.bundle.info.parts.media()

    def place(
        self, speech: Source | None = None, text: str | None = None, vision: Source | None = None
    ) -> np.ndarray:
        return _profile(self.predictor.predict(speech, text, vision))

    def words(self, text: str) -> np.ndarray:
        """An emotion's name, in an everyday spelling, is that emotion; another word is what the text part makes
        of it in `EMOTION_TEMPLATES`, and a sentence what it makes of the sentence."""
        try:
            return np.array([label == canonical(text) for label in self.predictor.labels], np.float32)
        except DataError:
            if " " in text.strip():
                return self.place(text=text)
            return np.sqrt(heard(self.predictor, text)).astype(np.float32)


def space_for(predictor: Predictor) -> Space:
    """The space of a bundle's media. Raises BundleError `no_shared_space` for one without towers and emotions."""
    if predictor.bundle.info.embedding is None and predictor.bundle.info.task(EMOTION) and predictor.labels:
        return Emotions(predictor)
    _ = predictor.space
    return Embeddings(predictor)


def origin_of(predictor: Predictor, path: str | None) -> Origin:
    """What an index made with this predictor says of its vectors."""
    space = space_for(predictor)
    bundle = predictor.bundle
    return Origin(bundle.sha256, bundle.info.name, path, space.kind, space.width)


@dataclass(frozen=True, slots=True)
class Part:
    """A vector, of which medium it is, and from when to when in seconds."""

    modality: str
    vector: np.ndarray
    start: float | None = None
    end: float | None = None


def parts_of(clip: Clip, space: Space, predictor: Predictor, decoder: Decoder) -> Iterator[Part]:
    """The vectors of a clip: of its text, its picture (not of a film), and each window of its recording.

    A silent window of a recording is left out. Raises DataError `nothing_to_predict` for a clip without a
    medium that the bundle reads; MediaError.
    """
    found = 0
    for name in clip.modalities():
        source = getattr(clip, name)
        if source is None or name not in space.modalities or (name == "vision" and is_video(source)):
            continue
        found += 1
        if name == "speech":
            yield from _recording(source, clip.start, clip.end, space, predictor, decoder)
        else:
            yield Part(name, space.place(**{name: source}))
    if not found:
        expected = ", ".join(space.modalities)
        raise DataError(
            "nothing_to_predict", f"{clip.id} has nothing that the bundle reads: expected {expected}"
        )


def recording_place(source: str | bytes, space: Space, predictor: Predictor, decoder: Decoder) -> np.ndarray:
    """The mean place of a recording's windows, which a search asks for."""
    parts = _recording(source, None, None, space, predictor, decoder)
    total = np.sum([part.vector for part in parts], axis=0)
    return (total / np.linalg.norm(total)).astype(np.float32)


def _recording(
    source: str | bytes,
    start: float | None,
    end: float | None,
    space: Space,
    predictor: Predictor,
    decoder: Decoder,
) -> Iterator[Part]:
    speech = predictor.bundle.info.parts.speech
    assert speech is not None
    at, found = start or 0.0, False
    blocks = decoder.iter_audio(source, start=start, end=end, limits=LONG_AUDIO, block_seconds=_BLOCK_SECONDS)
    for samples in windows(blocks, speech):
        after = at + len(samples) / speech.rate
        if samples.any():
            found = True
            yield Part("speech", space.place(speech=samples), round(at, 3), round(after, 3))
        at = after
    if not found:
        name = source if isinstance(source, str) else "the recording"
        raise MediaError("audio_silent", f"{name}: every sample is 0; give a recording with sound")


def _profile(prediction: Prediction) -> np.ndarray:
    return np.sqrt(np.array([*prediction.probabilities.values()], np.float32))
