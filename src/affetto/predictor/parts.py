"""The ONNX parts of a bundle, run one item at a time: media to Tracks, Tracks to logits."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from affetto.bundle import FUSION, PRECISIONS, Bundle
from affetto.errors import AffettoError, BundleError, ConfigError
from affetto.records import Track, Word

if TYPE_CHECKING:
    import onnxruntime

EMBEDDING = "embedding."  # and the modality: an output of the fusion part
_FIRST_FRAME = 0.0125  # seconds, the centre of the first frame of any speech part
Outputs = dict[str, np.ndarray]  # name to logits [C] or weights [V]


class Parts:
    """The parts of a bundle in one precision, each loaded when it is first needed; threads may share them."""

    def __init__(self, bundle: Bundle, precision: str | None, threads: int) -> None:
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
        self._lock = threading.Lock()
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._tokenizer: Any = None
        self._fusion_inputs: set[str] | None = None  # names of the fusion's inputs

    @property
    def model(self) -> dict[str, str]:
        """Name, hash and licence of the bundle, which every answer carries."""
        info = self.bundle.info
        return {"name": info.name, "sha256": self.bundle.sha256, "licence": info.licence}

    def load(self, modalities: Iterable[str]) -> None:
        """Load what these modalities need now, rather than when the first answer needs it."""
        for name in {*modalities} & {*self.bundle.info.parts.modalities()}:
            self._session(name)
        self._session(FUSION)

    def speech(self, waveform: np.ndarray, start: float = 0.0) -> Track:
        """Samples [N] at 16 kHz, of which the first is at `start` seconds, to a Track."""
        samples = _aligned(waveform)[None]
        values, mask = self._encode("speech", waveform=samples, mask=np.ones(samples.shape, bool))
        part = self.bundle.info.parts.speech
        if part is None or part.clock is None:
            return Track(values, mask)
        times = np.arange(mask.shape[1]) / part.clock + (_FIRST_FRAME + start)
        return Track(values, mask, times[None].astype(np.float32))

    def text(self, text: str, words: Sequence[Word] = ()) -> Track:
        """A text to a Track, its tokens at the times of the words that it is made of, where these are known.

        What is longer than the part reads is cut off.
        """
        from affetto.features.text import encode, load_tokenizer, token_times

        part = self.bundle.info.parts.text
        assert part is not None
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = load_tokenizer(self.bundle.read("tokenizer.json"))
        ids = encode(self._tokenizer, text, part.max_tokens)
        values, mask = self._encode("text", ids=ids[None], mask=np.ones((1, len(ids)), bool))
        timed = words and self._reads_times("text")
        times = token_times(self._tokenizer, text, words, part.max_tokens)[None] if timed else None
        return Track(values, mask, times)

    def vision(self, crops: np.ndarray, seconds: float | None = None) -> Track:
        """Face crops [T 3 S S] in [0, 1], seen at a time, to a Track."""
        pixels = np.asarray(crops, np.float32)[None]
        values, mask = self._encode("vision", pixels=pixels, mask=np.ones(pixels.shape[:2], bool))
        return Track(values, mask, None if seconds is None else np.full(mask.shape, seconds, np.float32))

    def features(self, modality: str, values: np.ndarray) -> Track:
        """Precomputed features [T F] of a modality to a Track."""
        return Track(*self._encode(modality, features=values[None], mask=np.ones((1, len(values)), bool)))

    def fuse(self, tracks: Mapping[str, Track]) -> Outputs:
        """Tracks by modality, any of them absent, to logits and weights by name."""
        session = self._session(FUSION)
        names = [o.name for o in session.get_outputs() if not o.name.startswith(EMBEDDING)]
        values = _call(session, FUSION, names, self._feeds(tracks))
        outputs = {name: np.asarray(value[0], np.float64) for name, value in zip(names, values, strict=True)}
        if not all(np.isfinite(value).all() for value in outputs.values()):
            raise AffettoError("internal", "the model answered with a value that is not a finite number")
        return outputs

    def embedding(self, modality: str, track: Track) -> np.ndarray:
        """Where a Track lies in the space of a bundle with towers: [D] float32, of unit length."""
        feeds = self._feeds({modality: track})
        (values,) = _call(self._session(FUSION), FUSION, [EMBEDDING + modality], feeds)
        length = np.linalg.norm(values[0])
        if not np.isfinite(length) or not length:
            raise AffettoError("internal", f"the model gave {modality} no place: a length of {length}")
        return (values[0] / length).astype(np.float32)

    def _feeds(self, tracks: Mapping[str, Track]) -> dict[str, np.ndarray]:
        """What the fusion part takes; a modality without a Track is absent."""
        parts = self.bundle.info.parts
        feeds = {}
        for name in parts.modalities():
            absent = Track(np.zeros((1, 1, parts.width(name)), np.float32), np.zeros((1, 1), bool))
            track = tracks.get(name, absent)
            feeds[f"{name}_values"], feeds[f"{name}_mask"] = track.values, track.mask
            if self._reads_times(name):
                unknown = np.full(track.mask.shape, np.nan, np.float32)
                feeds[f"{name}_times"] = unknown if track.times is None else track.times
        return feeds

    def _reads_times(self, modality: str) -> bool:
        """Whether the fusion asks when the frames of a modality were."""
        if self._fusion_inputs is None:
            self._fusion_inputs = {given.name for given in self._session(FUSION).get_inputs()}
        return f"{modality}_times" in self._fusion_inputs

    def _encode(self, part: str, **feeds: np.ndarray) -> list[np.ndarray]:
        return _call(self._session(part), part, ["values", "mask_out"], feeds)

    def _session(self, part: str) -> onnxruntime.InferenceSession:
        with self._lock:
            if part not in self._sessions:
                model = self.bundle.read_part(part, self.precision)
                self._sessions[part] = open_session(model, part, self._threads)
            return self._sessions[part]


def _aligned(samples: np.ndarray) -> np.ndarray:
    """A copy [N] at an address that vector instructions like: where it lies changes how kernels add up, and
    the same samples must give the same bits whether they came from a stream or a file."""
    room = np.empty(len(samples) + 16, np.float32)
    first = -room.ctypes.data % 64 // 4
    room[first : first + len(samples)] = samples
    return room[first : first + len(samples)]


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
