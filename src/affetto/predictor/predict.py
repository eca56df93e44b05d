"""The Predictor: whole items, files and clips. What they hold goes through a `Session`, as a stream does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from time import perf_counter
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from affetto import labels as contract
from affetto.bundle import Bundle, EmbeddingInfo, open_bundle
from affetto.enrolment import Speaker
from affetto.errors import AffettoError, ConfigError, DataError
from affetto.media.limits import LONG_AUDIO, LONG_VIDEO
from affetto.predictor.answers import Answers, emotion_task
from affetto.predictor.evidence import Evidence
from affetto.predictor.inputs import (
    Decoder,
    Face,
    Item,
    Source,
    blocks,
    checked_features,
    checked_pixels,
    is_video,
    together,
    unless,
)
from affetto.predictor.parts import Parts
from affetto.predictor.space import embed_speech, space_of
from affetto.predictor.stream import Session
from affetto.records import MODALITIES, Clip, Prediction, Word

_BLOCK_SECONDS = 5.0
_FACE_SECONDS = 0.2  # between the pictures of a film that are looked at


def load(
    bundle: str | Path | None = None,
    *,
    precision: str | None = None,
    threads: int = 1,
    decoder: Decoder | None = None,
) -> Predictor:
    """A Predictor for a bundle (folder or zip; None is the one that ships inside affetto).

    `precision` is "int8" or "fp32"; None takes int8 where the bundle has it. `threads` are ONNX Runtime's
    threads per part. `decoder` opens media files; by default they are opened in this process. Raises
    BundleError for a bundle that cannot be opened or verified.
    """
    return Predictor(open_bundle(bundle), precision=precision, threads=threads, decoder=decoder)


class Predictor:
    """Answers for clips. Parts are loaded on first use; it may be shared by threads."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: str | None = None,
        threads: int = 1,
        decoder: Decoder | None = None,
    ) -> None:
        self.bundle = bundle
        self._parts = Parts(bundle, precision, threads)
        self._decoder = decoder

    @property
    def precision(self) -> str:
        """The precision of the parts that answer: "int8" or "fp32"."""
        return self._parts.precision

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions of the answer, in the bundle's order; () when the bundle has no such task."""
        task = emotion_task(self.bundle.info)
        return task.labels if task else ()

    def restricted(self, labels: Sequence[str] | None) -> tuple[str, ...]:
        """The emotions that stay possible when only `labels` are, in the bundle's order; None: all.

        Raises DataError `label_unknown`, ConfigError `option_invalid` for fewer than two.
        """
        if labels is None:
            return self.labels
        names = {name if name in self.labels else contract.canonical(name) for name in labels}
        unknown = sorted(names - set(self.labels))
        if unknown:
            expected = ", ".join(self.labels) or "none"
            raise DataError("label_unknown", f"the model has no emotion {unknown[0]!r}: expected {expected}")
        if len(names) < 2:
            raise ConfigError(
                "option_invalid", f"labels {', '.join(labels)!r}: give at least two to choose from"
            )
        return tuple(name for name in self.labels if name in names)

    def prepare(self, modalities: Iterable[str]) -> None:
        """Load the parts that these modalities need now, rather than when the first answer needs them."""
        self._parts.load(modalities)

    def predict(
        self,
        speech: Source | None = None,
        text: str | None = None,
        vision: Source | None = None,
        *,
        words: Sequence[Word] = (),
        timeline: bool = False,
        labels: Sequence[str] | None = None,
        language: str | None = None,
        file: str | None = None,
        speaker: Speaker | None = None,
    ) -> Prediction:
        """The emotion of one item, from any subset of its media.

        speech: path, bytes of a file, or float samples [N] at 16 kHz. vision: path (also
        `archive.zip#member`), bytes, or uint8 pixels [H W 3]. words: what was said, with times; `text` is what
        was said without. timeline: answer every half second too. labels: only these are possible, in
        everyday spellings. language: of the text, ISO 639-1; None lets the model tell it, where it can. file:
        the name to answer with. speaker: whose speech it is, from `enrolment`. Raises MediaError, DataError
        `label_unknown`, `nothing_to_predict` or `speaker_other_model`.
        """
        item = Item(speech, text, vision, words=words, language=language, file=file)
        return self._answer(item, labels, timeline, speaker)

    def predict_clip(
        self,
        clip: Clip,
        *,
        timeline: bool = False,
        labels: Sequence[str] | None = None,
        speaker: Speaker | None = None,
    ) -> Prediction:
        """The emotion of a clip: its part from `start` to `end`, its words unless they are scripted."""
        used = clip.modalities()
        item = Item(
            speech=clip.speech if "speech" in used else None,
            text=clip.text if "text" in used else None,
            vision=clip.vision if "vision" in used else None,
            words=() if clip.scripted else _within(clip.words, clip.start or 0.0, clip.end or math.inf),
            start=clip.start,
            end=clip.end,
            language=clip.language,
            file=clip.speech or clip.vision,
        )
        return self._answer(item, labels, timeline, speaker)

    def predict_features(
        self, features: Mapping[str, ArrayLike], *, labels: Sequence[str] | None = None
    ) -> Prediction:
        """The answer to precomputed features, for a bundle whose parts take them: modality to [F] or [T F].

        Any subset of the modalities; there is no timeline. Raises DataError `features_invalid` for a modality
        that the bundle takes no features of, another shape, or values that are not finite;
        `nothing_to_predict` without any; `label_unknown`.
        """
        began = perf_counter()
        sizes = self.bundle.info.parts.features
        tracks = {
            name: self._parts.features(name, checked_features(name, values, sizes))
            for name, values in features.items()
        }
        if not tracks:
            raise DataError("nothing_to_predict", "nothing was given: expected features of a modality")
        answers = Answers(self.bundle, self.precision, self.restricted(labels))
        outputs = self._parts.fuse(tracks)
        return Prediction(
            **answers.emotion(outputs, tracks),
            missing=tuple(name for name in self.bundle.info.parts.modalities() if name not in tracks),
            tasks=answers.tasks(outputs, tracks),
            warnings=() if answers.calibrated(tracks) else ("not_calibrated",),
            model=self._parts.model,
            elapsed=perf_counter() - began,
        )

    def stream(
        self,
        *,
        text: str | None = None,
        vision: Source | None = None,
        timeline: bool = True,
        labels: Sequence[str] | None = None,
        language: str | None = None,
        file: str | None = None,
        speaker: Speaker | None = None,
    ) -> Session:
        """A session for sound that comes in pieces: `feed(samples)` as it comes, `finish()` for the answer.

        A step of the timeline is answered some 2 to 2.5 s after its end: its window must have closed. Words and
        faces with times are fed, and count where they were said and seen. A picture stands beside all that is
        spoken; a text without times counts in the answer, and is shown along a short recording by `finish`.
        Errors as in `predict`.
        """
        item = Item(text=text, vision=vision, language=language, file=file)
        return self._session(item, labels, timeline, speaker)

    @property
    def space(self) -> EmbeddingInfo:
        """The space that the bundle's media share. Raises BundleError `no_shared_space`."""
        return space_of(self.bundle)

    def embed(
        self,
        speech: Source | None = None,
        text: str | None = None,
        vision: Source | None = None,
        *,
        start: float | None = None,
        end: float | None = None,
    ) -> np.ndarray:
        """Where one medium lies in the space that all share: [D] float32, of unit length.

        Just one of speech, text and vision, as `predict` takes them; a picture is read whole, its middle
        square. start, end: a part of the recording, in seconds. What is longer than the model's window is the
        mean of its windows. Raises BundleError `no_shared_space`; DataError `nothing_to_predict` for none or
        several media, or one without a tower; MediaError.
        """
        given = {"speech": speech, "text": text, "vision": vision}
        present = [name for name in MODALITIES if given[name] is not None]
        if len(present) != 1 or present[0] not in self.space.modalities:
            raise DataError(
                "nothing_to_predict",
                f"embed: given {', '.join(present) or 'nothing'}, expected one of "
                f"{', '.join(self.space.modalities)}",
            )
        item = Item(speech, text, vision, start=start, end=end)
        if speech is not None:
            return embed_speech(self._parts, self._sound(item, None), item.name or "the recording")
        if text is not None:
            return self._parts.embedding("text", self._parts.text(text))
        return self._parts.embedding("vision", self._parts.vision(self._whole_picture(vision)))

    def predict_many(
        self, clips: Iterable[Clip], *, labels: Sequence[str] | None = None, speaker: Speaker | None = None
    ) -> Iterator[tuple[Clip, Prediction | AffettoError]]:
        """Each clip with its answer, or with the error that kept it from one: one bad clip fails no other."""
        for clip in clips:
            try:
                yield clip, self.predict_clip(clip, labels=labels, speaker=speaker)
            except AffettoError as error:
                yield clip, error

    def _answer(
        self, item: Item, labels: Sequence[str] | None, timeline: bool, speaker: Speaker | None
    ) -> Prediction:
        if item.speech is None and item.text is None and item.vision is None and not item.words:
            raise DataError("nothing_to_predict", "nothing was given: expected speech, text or vision")
        film = item.vision if is_video(item.vision) else None
        session = self._session(item, labels, timeline, speaker, film=film is not None)
        session.feed(np.zeros(0, np.float32), item.words)
        for samples, faces in together(self._sound(item, film), self._faces(item, film)):
            session.feed(samples, faces=faces)
        return session.finish()

    def _session(
        self,
        item: Item,
        labels: Sequence[str] | None,
        timeline: bool,
        speaker: Speaker | None,
        *,
        film: bool = False,
    ) -> Session:
        answers = Answers(self.bundle, self.precision, self.restricted(labels), speaker)
        warnings = self._not_in_model(item)
        picture, looks_like_face = self._picture(None if film else item.vision)
        if not looks_like_face:
            warnings.append("face_not_located")
        evidence = Evidence(self._parts, text=item.text, language=item.language, picture=picture)
        return Session(
            self._parts,
            answers,
            evidence,
            timeline=timeline,
            text=item.text,
            warnings=warnings,
            file=item.name,
        )

    def _not_in_model(self, item: Item) -> list[str]:
        """A warning for every medium given that the bundle has no part for; DataError if that is all of them."""
        parts = self.bundle.info.parts
        known = parts.media()
        given = {"speech": item.speech, "text": item.text or item.words or None, "vision": item.vision}
        present = [name for name in MODALITIES if given[name] is not None]
        unknown = [name for name in present if name not in known]
        if present and len(unknown) == len(present):
            expected = [f"one of {', '.join(known)}"] if known else []
            if parts.features:
                names = ", ".join(parts.features)
                expected.append(f"precomputed features of {names} (Predictor.predict_features)")
            raise DataError(
                "nothing_to_predict",
                f"no input that the model reads: given {', '.join(present)}, expected {', or '.join(expected)}",
            )
        return [f"{name}_not_in_model" for name in unknown]

    # --- media ---

    @property
    def _media(self) -> Decoder:
        if self._decoder is None:
            from affetto import media

            self._decoder = cast(Decoder, media)
        return self._decoder

    def _sound(self, item: Item, film: Source | None) -> Iterator[np.ndarray]:
        """The samples of an item in blocks; none where it has no speech, or is a film without sound."""
        source = item.speech
        if source is None or self.bundle.info.parts.speech is None:
            return iter(())
        if isinstance(source, np.ndarray):
            return blocks(source, item.start, item.end)
        sound = self._media.iter_audio(
            source, start=item.start, end=item.end, limits=LONG_AUDIO, block_seconds=_BLOCK_SECONDS
        )
        return unless("audio_empty", sound) if source == film else sound

    def _faces(self, item: Item, film: Source | None) -> Iterator[Face]:
        """The face that a film follows, where it is in sight."""
        part = self.bundle.info.parts.vision
        if film is None or isinstance(film, np.ndarray) or part is None:
            return iter(())
        from affetto.features.face_track import FaceFinder, track_face

        frames = self._media.iter_frames(film, every=_FACE_SECONDS, limits=LONG_VIDEO)
        pictures = unless("video_without_pictures", frames)
        tracked = track_face(pictures, FaceFinder().faces, part.size)
        start, end = item.start or 0.0, math.inf if item.end is None else item.end
        seen = takewhile(lambda face: face[0] < end, tracked)
        return ((seconds - start, crop) for seconds, crop in seen if crop is not None and seconds >= start)

    def _picture(self, source: Source | None) -> tuple[np.ndarray | None, bool]:
        """The face crop of a picture [1 3 S S], and whether it looks like one."""
        part = self.bundle.info.parts.vision
        if source is None or part is None:
            return None, True
        from affetto.features.faces import face_crop

        image = self._pixels(source)
        crop, looks_like_face = face_crop(image, part.size)
        if not looks_like_face:
            found = _found_face(image, part.size)
            if found is not None:
                crop, looks_like_face = found, True
        return crop[None], looks_like_face

    def _whole_picture(self, source: Source | None) -> np.ndarray:
        """The middle square of a picture [1 3 S S], as training reads it; no face is looked for."""
        from affetto.features.faces import face_crop

        part = self.bundle.info.parts.vision
        assert part is not None
        assert source is not None
        return face_crop(self._pixels(source), part.size)[0][None]

    def _pixels(self, source: Source) -> np.ndarray:
        return checked_pixels(source) if isinstance(source, np.ndarray) else self._media.decode_image(source)


def _found_face(image: np.ndarray, size: int) -> np.ndarray | None:
    """The crop [3 S S] of the largest face in a picture; None where there is none, or no face finder."""
    from affetto.features.face_track import FaceFinder, crop_face, find_face

    try:
        box = find_face(image, FaceFinder().faces)
    except ConfigError:  # the [video] extra is not installed
        return None
    return None if box is None else crop_face(image, box, size)


def _within(words: Sequence[Word], start: float, end: float) -> tuple[Word, ...]:
    """The words of a medium whose middle lies in a part of it, with times from the part's start on."""
    inside = (word for word in words if start <= (word.start + word.end) / 2 < end)
    return tuple(replace(word, start=max(word.start - start, 0.0), end=word.end - start) for word in inside)
