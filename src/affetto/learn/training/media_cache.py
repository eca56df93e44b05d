"""Decoded media of clips, each decoded once and kept in memory in its smallest exact form.

Speech is kept as the model hears it: with no more silence around it than its config says.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affetto.align.activity import speech_probability, trimmed
from affetto.data.precomputed import FeatureArchives
from affetto.errors import AffettoError, DataError
from affetto.features.faces import face_crop
from affetto.features.text import encode, token_times
from affetto.learn.config import ModelConfig
from affetto.learn.training.pairing import words_as_text
from affetto.media import SAMPLE_RATE, decode_audio, decode_image
from affetto.records import Clip, Word

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Seconds of a clip that are read where nothing crops it: the window of a bundle's speech part.
WINDOW_SECONDS = 12.0

#: A larger share of unreadable clips than this stops a run: the corpus is wrong, not some files.
MOST_UNREADABLE = 0.1

#: (corpus, id): ids are unique within a corpus.
ClipKey = tuple[str | None, str]

_SpeechKey = tuple[str, float | None, float | None]
_TimesKey = tuple[str | None, tuple[Word, ...], float | None]


class MediaCache:
    """Speech as int16 [N], faces as one uint8 plane of luma [S S], text as token ids [T] and their times.

    Of modalities that the model takes as precomputed features [T D], those instead.
    The decoders are parameters so that a resource-limited worker can stand in for them.
    """

    def __init__(
        self,
        model: ModelConfig,
        tokenizer: Tokenizer | None = None,
        *,
        decode_speech: Callable[..., NDArray[np.float32]] = decode_audio,
        decode_face: Callable[..., NDArray[np.uint8]] = decode_image,
    ) -> None:
        self._margin = model.speech.margin_seconds if model.speech else None
        self._size = model.vision.size if model.vision else 0
        self._max_tokens = model.text.max_tokens if model.text else 0
        self.modalities = model.modalities
        self._sizes = {name: section.size for name, section in model.features.items()}
        self.tokenizer = tokenizer
        self._decode_speech, self._decode_face = decode_speech, decode_face
        self._speech: dict[_SpeechKey, NDArray[np.int16]] = {}
        self._trimmed: dict[_SpeechKey, float] = {}  # seconds cut off at the beginning
        self._faces: dict[str, NDArray[np.uint8]] = {}
        self._tokens: dict[str, NDArray[np.int64]] = {}
        self._times: dict[_TimesKey, NDArray[np.float32]] = {}
        self._archives = FeatureArchives()
        self._features: dict[str, NDArray[np.float32]] = {}

    @property
    def media(self) -> tuple[str, ...]:
        """The modalities of which media are kept, not precomputed features."""
        return tuple(name for name in self.modalities if name not in self._sizes)

    def narrowed(self, modalities: Sequence[str]) -> MediaCache:
        """The same media and features, for a model that has these of the modalities only."""
        twin = copy.copy(self)
        twin.modalities = tuple(name for name in self.modalities if name in modalities)
        twin._sizes = {name: size for name, size in self._sizes.items() if name in modalities}
        return twin

    def add(
        self, clips: Sequence[Clip], wrap: Callable[[Sequence[Clip]], Iterable[Clip]] = iter
    ) -> dict[ClipKey, AffettoError]:
        """Decode what is not there yet. Returns the clips that cannot be decoded, each with its error.

        `wrap` may show progress. Raises DataError `corpus_unreadable` when more than a tenth cannot.
        """
        unreadable: dict[ClipKey, AffettoError] = {}
        for clip in wrap(clips):
            try:
                self._add(clip)
            except AffettoError as error:
                unreadable[clip.corpus, clip.id] = error
        if len(unreadable) > MOST_UNREADABLE * len(clips):
            (_, name), first = next(iter(unreadable.items()))
            raise DataError(
                "corpus_unreadable",
                f"{len(unreadable)} of {len(clips)} clips cannot be decoded (clip {name}: {first}); "
                "check the paths in the manifest",
            )
        return unreadable

    def speech(self, clip: Clip) -> NDArray[np.int16]:
        """Samples [N] of a clip that was added, at 16 kHz."""
        return self._speech[_speech_key(clip)]

    def window(self, clip: Clip) -> NDArray[np.float32]:
        """Samples [N] in [-1, 1] of a clip that was added, or of its first window where it is longer."""
        return as_float(self.speech(clip)[: round(WINDOW_SECONDS * SAMPLE_RATE)])

    def face(self, clip: Clip) -> NDArray[np.float32]:
        """Luma [1 S S] in [0, 1] of a clip that was added: what stands in each of its three planes."""
        return self._faces[clip.vision or ""][None].astype(np.float32) / np.float32(255)

    def tokens(self, clip: Clip) -> NDArray[np.int64]:
        """Token ids [T] of a clip that was added, and has a text."""
        return self._tokens[clip.text or ""]

    def times(self, clip: Clip) -> NDArray[np.float32] | None:
        """When each of its tokens was said, [T] seconds after the clip's start, NaN where that is unknown.

        None for a clip without words.
        """
        return self._times[_times_key(clip)] if clip.words else None

    def features(self, clip: Clip, modality: str) -> NDArray[np.float32]:
        """Precomputed features [T D] of a modality of a clip that was added."""
        return self._features[clip.features[modality]]

    def inputs(self, clip: Clip) -> dict[str, NDArray[Any]]:
        """A clip that was added as the parts of a bundle take it: speech [N], text [T], vision [1 3 S S].

        Of a modality that is read as features, these [T D].
        """
        clip = words_as_text(clip)
        present = self._read(clip)
        found: dict[str, NDArray[Any]] = {
            name: self.features(clip, name) for name in self._sizes if name in clip.modalities()
        }
        if "speech" in present:
            found["speech"] = self.window(clip)
        if "text" in present:
            found["text"] = self.tokens(clip)
        if "vision" in present:
            found["vision"] = np.broadcast_to(self.face(clip), (1, 3, self._size, self._size))
        return found

    def _add(self, clip: Clip) -> None:
        clip = words_as_text(clip)
        for name in self._sizes:
            if name in clip.modalities():
                self._add_features(clip, name)
        present = self._read(clip)
        if "speech" in present and _speech_key(clip) not in self._speech:
            waveform = self._decode_speech(clip.speech, start=clip.start, end=clip.end)
            first, last = 0, len(waveform)
            if self._margin is not None:
                first, last = trimmed(speech_probability(waveform), len(waveform), self._margin)
            self._speech[_speech_key(clip)] = as_int16(waveform[first:last])
            self._trimmed[_speech_key(clip)] = first / SAMPLE_RATE
        if "vision" in present and clip.vision not in self._faces:
            planes, _ = face_crop(self._decode_face(clip.vision), self._size)
            self._faces[clip.vision or ""] = np.rint(planes[0] * 255).astype(np.uint8)
        if "text" in present and self.tokenizer is not None:
            self._add_text(clip, clip.text or "", self.tokenizer)

    def _read(self, clip: Clip) -> list[str]:
        """The modalities whose media are read. Raises DataError `features_invalid` for features instead."""
        present = [name for name in clip.modalities() if name in self.media]
        for name in present:
            if getattr(clip, name) is None:
                raise DataError(
                    "features_invalid",
                    f"clip {clip.id} has {name} as precomputed features only, and the model reads the medium: "
                    f"give it model.features.{name}",
                )
        return present

    def _add_features(self, clip: Clip, name: str) -> None:
        source = clip.features.get(name)
        if source is None:
            raise DataError(
                "features_invalid",
                f"clip {clip.id} has no precomputed features of {name}, which model.features.{name} asks for",
            )
        if source not in self._features:
            values = self._archives.read(source)
            if values.shape[1] != self._sizes[name]:
                raise DataError(
                    "features_invalid",
                    f"features {source!r} have {values.shape[1]} values per step, expected "
                    f"model.features.{name}.size, which is {self._sizes[name]}",
                )
            self._features[source] = values

    def _add_text(self, clip: Clip, text: str, tokenizer: Tokenizer) -> None:
        if text not in self._tokens:
            self._tokens[text] = encode(tokenizer, text, self._max_tokens)
        if clip.words and _times_key(clip) not in self._times:
            # Words are on the clock of the medium, the model on that of what was kept of it.
            began = (clip.start or 0.0) + self._trimmed.get(_speech_key(clip), 0.0)
            words = [replace(word, start=word.start - began, end=word.end - began) for word in clip.words]
            self._times[_times_key(clip)] = token_times(tokenizer, text, words, self._max_tokens)


def as_int16(waveform: NDArray[np.float32]) -> NDArray[np.int16]:
    """[-1, 1] to 16 bits; exact for what was recorded with 16 bits."""
    return np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype(np.int16)


def as_float(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """16 bits to [-1, 1)."""
    return samples.astype(np.float32) * np.float32(1.0 / 32768.0)


def _speech_key(clip: Clip) -> _SpeechKey:
    return clip.speech or "", clip.start, clip.end


def _times_key(clip: Clip) -> _TimesKey:
    return clip.text, clip.words, clip.start
