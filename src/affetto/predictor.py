"""A bundle and any subset of speech, text and face in; a Prediction out. Everything that answers uses this.

Each modality's part turns its medium into a Track; the fusion part merges the Tracks, an absent one being a
single step whose mask is False. Only the parts that a call needs are loaded and run.

Speech longer than the bundle's window is answered by windows: text and picture stand beside each of them, and
the answer is the mean log-probability of the windows, weighted by their speech activity. Normalised, that is
the softmax of the mean logits, so logits are what is averaged.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from affetto import labels as contract
from affetto.bundle import (
    FUSION,
    PRECISIONS,
    Bundle,
    Calibration,
    SpeechPart,
    TaskInfo,
    TextPart,
    VisionPart,
    open_bundle,
    subset_key,
)
from affetto.errors import AffettoError, BundleError, ConfigError, DataError, MediaError
from affetto.records import MODALITIES, Clip, Prediction, Verdict

if TYPE_CHECKING:
    import onnxruntime

Source = str | Path | bytes | np.ndarray

EMOTION = "emotion"
LANGUAGE = "language"
VOTE = "vote"
WEIGHTS = "weights"
_UNCALIBRATED = Calibration()
#: Languages written in the Latin script, of those that corpora of emotional text exist in.
_LATIN = frozenset(
    {
        "cs",
        "da",
        "de",
        "en",
        "es",
        "fi",
        "fr",
        "hu",
        "id",
        "it",
        "nl",
        "no",
        "pl",
        "pt",
        "ro",
        "sv",
        "tr",
        "vi",
    }
)


_Track = tuple[np.ndarray, np.ndarray]  # values [1 T D], mask [1 T]
_Outputs = dict[str, np.ndarray]  # name to logits [C] or weights [V]


class Decoder(Protocol):
    """What opens media: the `affetto.media` package, or its DecodingWorker."""

    def decode_audio(
        self, source: str | Path | bytes, *, start: float | None = None, end: float | None = None
    ) -> np.ndarray: ...

    def decode_image(self, source: str | Path | bytes) -> np.ndarray: ...


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
        precision = precision or next(iter(bundle.precisions()), PRECISIONS[0])
        if precision not in PRECISIONS:
            raise ConfigError(
                "option_invalid", f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}"
            )
        if precision not in bundle.precisions():
            raise BundleError(
                "bundle_not_found",
                f"{bundle.path} has no {precision} parts, it has {', '.join(bundle.precisions()) or 'none'}: "
                f"make them with `affetto export {bundle.path} -o OUT --precision {precision}`",
            )
        self.bundle = bundle
        self.precision = precision
        self._threads = threads
        self._decoder = decoder
        self._lock = threading.Lock()
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._tokenizer: Any = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions of the answer, in the bundle's order; () when the bundle has no such task."""
        task = _emotion_task(self.bundle)
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
        for name in {*modalities} & {*self.bundle.info.parts.modalities()}:
            self._session(name)
        self._session(FUSION)

    def predict(
        self,
        speech: Source | None = None,
        text: str | None = None,
        vision: Source | None = None,
        *,
        labels: Sequence[str] | None = None,
        language: str | None = None,
        file: str | None = None,
    ) -> Prediction:
        """The emotion of one item, from any subset of its media.

        speech: path, bytes of a file, or float samples [N] at 16 kHz. vision: path (also
        `archive.zip#member`), bytes, or uint8 pixels [H W 3]. labels: only these are possible, in everyday
        spellings. language: of the text, ISO 639-1; None lets the model tell it, where it can. file: the name
        to answer with. Raises MediaError, DataError `label_unknown` or `nothing_to_predict`.
        """
        return self._answer(_Item(speech, text, vision, language=language, file=file), labels)

    def predict_clip(self, clip: Clip, *, labels: Sequence[str] | None = None) -> Prediction:
        """The emotion of a clip: its part from `start` to `end`, its text unless that is scripted."""
        used = clip.modalities()
        item = _Item(
            speech=clip.speech if "speech" in used else None,
            text=clip.text if "text" in used else None,
            vision=clip.vision if "vision" in used else None,
            start=clip.start,
            end=clip.end,
            language=clip.language,
            file=clip.speech or clip.vision,
        )
        return self._answer(item, labels)

    def predict_many(
        self, clips: Iterable[Clip], *, labels: Sequence[str] | None = None
    ) -> Iterator[tuple[Clip, Prediction | AffettoError]]:
        """Each clip with its answer, or with the error that kept it from one: one bad clip fails no other."""
        for clip in clips:
            try:
                yield clip, self.predict_clip(clip, labels=labels)
            except AffettoError as error:
                yield clip, error

    def _answer(self, item: _Item, labels: Sequence[str] | None) -> Prediction:
        began = perf_counter()
        kept = [self.labels.index(name) for name in self.restricted(labels)]
        warnings: list[str] = []
        waveform, tracks = self._read(item, warnings)
        used = [m for m in MODALITIES if m in tracks or (m == "speech" and waveform is not None)]
        refused = None
        if "text" in used and not self._reads_language(item, tracks["text"]):
            warnings.append("language_not_supported")
            if used == ["text"]:
                refused = "language_not_supported"
            else:
                used.remove("text")
                del tracks["text"]
        outputs = self._fuse_windows(waveform, tracks)
        calibrations = self._calibrations(used)
        if EMOTION not in calibrations:
            warnings.append("not_calibrated")
        answer = _emotion_answer(
            _emotion_task(self.bundle), outputs, calibrations.get(EMOTION, _UNCALIBRATED), used, kept, refused
        )
        info, speech = self.bundle.info, self.bundle.info.parts.speech
        others = [t for t in info.tasks if t.name not in (EMOTION, LANGUAGE) and _heard(t, used)]
        return Prediction(
            **answer,
            missing=tuple(m for m in info.parts.modalities() if m not in used),
            tasks={t.name: _task_answer(t, outputs, calibrations.get(t.name, _UNCALIBRATED)) for t in others},
            file=item.file or _name(item.speech) or _name(item.vision),
            duration=None if waveform is None or speech is None else len(waveform) / speech.rate,
            warnings=tuple(warnings),
            model={"name": info.name, "sha256": self.bundle.sha256, "licence": info.licence},
            elapsed=perf_counter() - began,
        )

    def _calibrations(self, used: Sequence[str]) -> dict[str, Calibration]:
        """Task to its calibration for this precision and subset of modalities, where there is one."""
        by_task = self.bundle.info.calibration.get(self.precision, {})
        subset = subset_key(used)
        return {task: subsets[subset] for task, subsets in by_task.items() if subset in subsets}

    # --- media to tracks ---

    @property
    def _media(self) -> Decoder:
        if self._decoder is None:
            from affetto import media

            self._decoder = cast(Decoder, media)
        return self._decoder

    def _read(self, item: _Item, warnings: list[str]) -> tuple[np.ndarray | None, dict[str, _Track]]:
        """The waveform, and the Tracks of text and vision; what the bundle has no part for is left out."""
        parts = self.bundle.info.parts
        given = {"speech": item.speech, "text": item.text, "vision": item.vision}
        present = [name for name in MODALITIES if given[name] is not None]
        warnings += [f"{name}_not_in_model" for name in present if name not in parts.modalities()]
        if len(warnings) == len(present):
            raise DataError(
                "nothing_to_predict",
                f"no input that the model reads: given {', '.join(present) or 'nothing'}, "
                f"expected one of {', '.join(parts.modalities())}",
            )
        waveform = None
        tracks: dict[str, _Track] = {}
        if item.speech is not None and parts.speech is not None:
            waveform = self._waveform(item.speech, parts.speech, item.start, item.end)
        if item.text is not None and parts.text is not None:
            tracks["text"] = self._encode_text(item.text, parts.text)
        if item.vision is not None and parts.vision is not None:
            tracks["vision"], looks_like_face = self._encode_face(item.vision, parts.vision)
            if not looks_like_face:
                warnings.append("face_not_located")
        return waveform, tracks

    def _waveform(
        self, source: Source, part: SpeechPart, start: float | None, end: float | None
    ) -> np.ndarray:
        if isinstance(source, np.ndarray):
            first, last = (None if t is None else int(t * part.rate) for t in (start, end))
            waveform = _checked_samples(source)[first:last]
        else:
            waveform = self._media.decode_audio(source, start=start, end=end)
        seconds = len(waveform) / part.rate
        if seconds < part.min_seconds:
            raise MediaError(
                "audio_too_short",
                f"{_name(source) or 'the audio'} lasts {seconds:.2f} s, the model needs at least "
                f"{part.min_seconds:g} s: give a longer recording",
            )
        return waveform

    def _encode_text(self, text: str, part: TextPart) -> _Track:
        from affetto.features.text import encode, load_tokenizer

        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = load_tokenizer(self.bundle.read("tokenizer.json"))
        ids = encode(self._tokenizer, text, part.max_tokens)
        return self._run("text", ids=ids[None], mask=np.ones((1, len(ids)), bool))

    def _encode_face(self, source: Source, part: VisionPart) -> tuple[_Track, bool]:
        from affetto.features.faces import face_crop

        if isinstance(source, np.ndarray):
            image = _checked_pixels(source)
        else:
            image = self._media.decode_image(source)
        crop, looks_like_face = face_crop(image, part.size)
        pixels = np.asarray(crop, np.float32)[None, None]
        return self._run("vision", pixels=pixels, mask=np.ones((1, 1), bool)), looks_like_face

    # --- tracks to logits ---

    def _reads_language(self, item: _Item, text: _Track) -> bool:
        """Whether the text is in a language of the text part: as said, else as the model's own head tells.

        A head that has met one script only cannot place another, so the script is looked at first.
        """
        from affetto.features.text import mostly_latin

        part, task = self.bundle.info.parts.text, self.bundle.info.task(LANGUAGE)
        known = part.languages if part else ()
        if item.language is not None:
            return item.language.replace("_", "-").split("-")[0].strip().lower() in known
        if task is None:
            return True
        if set(known) <= _LATIN and not mostly_latin(item.text or ""):
            return False
        logits = self._fuse({"text": text})[f"{LANGUAGE}.{VOTE}"]
        return task.labels[int(np.argmax(logits))] in known

    def _fuse_windows(self, waveform: np.ndarray | None, tracks: Mapping[str, _Track]) -> _Outputs:
        """The fusion's outputs, averaged over the windows of the speech by their activity."""
        part = self.bundle.info.parts.speech
        if waveform is None or part is None:
            return self._fuse(tracks)
        window, shortest = int(part.window_seconds * part.rate), int(part.min_seconds * part.rate)
        pieces = [waveform[a:b] for a, b in speech_windows(len(waveform), window, shortest)]
        activity = np.array([speech_activity(piece, part.rate) for piece in pieces])
        shares = activity / activity.sum() if activity.sum() > 0 else np.full(len(pieces), 1 / len(pieces))
        mean: _Outputs = {}
        for piece, share in zip(pieces, shares, strict=True):
            samples = np.ascontiguousarray(piece[None], np.float32)
            speech = self._run("speech", waveform=samples, mask=np.ones(samples.shape, bool))
            for name, value in self._fuse({**tracks, "speech": speech}).items():
                mean[name] = mean.get(name, np.zeros_like(value)) + share * value
        return mean

    def _fuse(self, tracks: Mapping[str, _Track]) -> _Outputs:
        parts = self.bundle.info.parts
        feeds = {}
        for name in parts.modalities():
            absent = np.zeros((1, 1, getattr(parts, name).width), np.float32), np.zeros((1, 1), bool)
            feeds[f"{name}_values"], feeds[f"{name}_mask"] = tracks.get(name, absent)
        session = self._session(FUSION)
        names = [o.name for o in session.get_outputs() if not o.name.startswith("embedding.")]
        values = _call(session, FUSION, names, feeds)
        outputs = {name: np.asarray(value[0], np.float64) for name, value in zip(names, values, strict=True)}
        if not all(np.isfinite(value).all() for value in outputs.values()):
            raise AffettoError("internal", "the model answered with a value that is not a finite number")
        return outputs

    def _run(self, part: str, **feeds: np.ndarray) -> _Track:
        values, mask = _call(self._session(part), part, ["values", "mask_out"], feeds)
        return values, mask

    def _session(self, part: str) -> onnxruntime.InferenceSession:
        with self._lock:
            if part not in self._sessions:
                model = self.bundle.read_part(part, self.precision)
                self._sessions[part] = open_session(model, part, self._threads)
            return self._sessions[part]


@dataclass(frozen=True)
class _Item:
    """What one call was given."""

    speech: Source | None = None
    text: str | None = None
    vision: Source | None = None
    start: float | None = None
    end: float | None = None
    language: str | None = None
    file: str | None = None


# --- speech in windows ---


def speech_windows(samples: int, window: int, shortest: int) -> list[tuple[int, int]]:
    """Where the windows of a waveform begin and end, in samples: one after the other, none overlapping.

    A remainder shorter than `shortest` joins the window before it.
    """
    starts = list(range(0, max(samples, 1), window))
    if len(starts) > 1 and samples - starts[-1] < shortest:
        starts.pop()
    return list(zip(starts, [*starts[1:], samples], strict=True))


def speech_activity(waveform: np.ndarray, rate: int) -> float:
    """Seconds of speech in a waveform [N], judged by energy alone.

    Each frame of 10 ms counts from 0 (at -60 dB full scale or below) to 1 (at -30 dB or above). It needs no
    future and no level of the whole recording, so a stream can weight its windows alike.
    """
    frame = rate // 100
    frames = waveform[: len(waveform) // frame * frame].reshape(-1, frame)
    level = 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-10)
    return float(np.clip((level + 60) / 30, 0, 1).sum() / 100)


# --- logits to answers ---


def _emotion_task(bundle: Bundle) -> TaskInfo | None:
    task = bundle.info.task(EMOTION)
    return task if task is not None and task.kind == "single-label" else None


def _emotion_answer(
    task: TaskInfo | None,
    outputs: _Outputs,
    calibration: Calibration,
    used: Sequence[str],
    kept: list[int],
    refused: str | None,
) -> dict[str, Any]:
    """The fields of a Prediction that speak of emotion; `refused` is a reason not to answer, if any."""
    if task is None:
        nothing: dict[str, Any] = {"emotion": None, "confidence": 0.0, "probabilities": {}, "modalities": {}}
        return {**nothing, "abstained": True, "reason": "no_emotion_in_model"}

    def shares(view: str) -> dict[str, float]:
        logits = outputs[f"{EMOTION}.{view}"][kept] / calibration.temperatures.get(view, 1.0)
        return dict(zip([task.labels[i] for i in kept], _softmax(logits), strict=True))

    weights = outputs.get(f"{EMOTION}.{WEIGHTS}")
    verdicts = {}
    for place, view in enumerate(task.views):
        if view in _heard(task, used):
            said = shares(view)
            weight = None if weights is None else float(weights[place])
            verdicts[view] = Verdict(max(said, key=said.__getitem__), said, weight)
    said = shares(VOTE)
    best = max(said, key=said.__getitem__)
    reason = refused or ("low_confidence" if said[best] < calibration.abstain_below else None)
    return {
        "emotion": None if reason else best,
        "confidence": said[best],
        "probabilities": said,
        "modalities": verdicts,
        "abstained": reason is not None,
        "reason": reason,
    }


def _heard(task: TaskInfo, used: Sequence[str]) -> list[str]:
    """The views of a task that have something to say: those of modalities used, and those that mix them."""
    return [view for view in task.views if view in used or view not in MODALITIES]


def _task_answer(task: TaskInfo, outputs: _Outputs, calibration: Calibration) -> dict[str, Any]:
    """Another task's answer: a label, several labels or a value, with its probabilities."""
    logits = outputs[f"{task.name}.{VOTE}"]
    if task.kind == "dimension":
        return {"value": float(np.ravel(logits)[0])}
    logits = logits / calibration.temperatures.get(VOTE, 1.0)
    if task.kind == "multi-label":
        said = dict(zip(task.labels, (1 / (1 + np.exp(-logits))).tolist(), strict=True))
        thresholds = calibration.label_thresholds
        return {"labels": [n for n, p in said.items() if p >= thresholds.get(n, 0.5)], "probabilities": said}
    said = dict(zip(task.labels, _softmax(logits), strict=True))
    return {"label": max(said, key=said.__getitem__), "probabilities": said}


def _softmax(logits: np.ndarray) -> list[float]:
    powers = np.exp(logits - logits.max())
    return (powers / powers.sum()).tolist()


# --- ONNX Runtime and arrays handed in ---


def open_session(model: bytes, part: str, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU. Raises BundleError `bundle_invalid` for what cannot be run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads burn the CPU after each call and starve whoever shares the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen types with no common base
        reason = " ".join(str(error).split())[:200]
        raise BundleError("bundle_invalid", f"the {part} part cannot be run: {reason}") from error


def _call(
    session: onnxruntime.InferenceSession, part: str, names: list[str], feeds: Mapping[str, Any]
) -> list[np.ndarray]:
    try:
        return session.run(names, feeds)
    except Exception as error:  # as above
        reason = " ".join(str(error).split())[:200]
        raise AffettoError("internal", f"the {part} part of the model failed: {reason}") from error


def _checked_samples(samples: np.ndarray) -> np.ndarray:
    found = f"{samples.dtype} {list(samples.shape)}"
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise MediaError("audio_corrupt", f"speech is an array {found}: expected float samples [N] at 16 kHz")
    if not len(samples):
        raise MediaError("audio_empty", "speech is an array of no samples: give a recording")
    if not np.isfinite(samples).all():
        raise MediaError("audio_not_finite", "speech holds NaN or infinite samples: clean the array first")
    if not samples.any():
        raise MediaError("audio_silent", "every sample of the speech is 0: give a recording with sound")
    return samples.astype(np.float32, copy=False)


def _checked_pixels(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        found = f"{pixels.dtype} {list(pixels.shape)}"
        raise MediaError("image_corrupt", f"vision is an array {found}: expected uint8 pixels [H W 3], RGB")
    return pixels


def _name(source: Source | None) -> str | None:
    return str(source) if isinstance(source, (str, Path)) else None
