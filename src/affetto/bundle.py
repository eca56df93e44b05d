"""The bundle: what learning writes, the runtime reads, and learning can start from again.

A bundle is a folder, or one zip of it. `bundle.json` is its contract: the tasks with their labels in order,
what each part wants as input, calibration, licence, and the sha256 of every other file. Opening a bundle
verifies all of it before anything is used; a bundle holds ONNX, safetensors, JSON and Markdown, never code.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from affetto.bundle_storage import CONTRACT, BundleStorage
from affetto.errors import BundleError
from affetto.onnx_file import has_nan, points_outside
from affetto.records import MODALITIES

FORMAT_VERSION = 1
PRECISIONS: tuple[str, ...] = ("int8", "fp32")
FUSION = "fusion"
DEFAULT_BUNDLE = Path(__file__).parent / "bundles" / "default"

_SUFFIXES = (".onnx", ".safetensors", ".json", ".md")
_CONTRACT_LIMIT = 4 << 20  # bytes; a contract is some kilobytes


class Voice(BaseModel, frozen=True, extra="forbid"):
    """What tells a voice from other sounds: a linear function of the mean and the deviation of the speech part's
    frames, `weights` [2 width] and `bias`, not below 0 for a voice. See `affetto.predictor.voice`."""

    weights: tuple[float, ...]
    bias: float

    @model_validator(mode="after")
    def _finite(self) -> Voice:
        if not all(map(math.isfinite, (*self.weights, self.bias))):
            raise ValueError("weights and bias must be finite")
        return self


class SpeechPart(BaseModel, frozen=True, extra="forbid"):
    """The speech part takes a waveform [B N] at `rate` Hz; its Track [B T width] has `clock` frames/s.

    A recording is answered in windows of `window_seconds`, a step of its timeline by the `timeline_seconds`
    around it: about the length of the clips that the part was trained on. Of what is no speech before and
    after, `margin_seconds` are left; None leaves all. What is no `voice` is not answered; None asks no one.
    """

    rate: int = 16000
    min_seconds: float = Field(default=0.2, gt=0)
    window_seconds: float = Field(default=12.0, gt=0)
    timeline_seconds: float = Field(default=2.5, ge=0.5)
    margin_seconds: float | None = Field(default=None, ge=0)
    width: int = Field(gt=0)
    clock: float | None = None
    voice: Voice | None = None

    @model_validator(mode="after")
    def _as_wide(self) -> SpeechPart:
        if self.voice is not None and len(self.voice.weights) != 2 * self.width:
            raise ValueError(f"voice has {len(self.voice.weights)} weights, expected {2 * self.width}")
        return self


class TextPart(BaseModel, frozen=True, extra="forbid"):
    """The text part takes token ids [B T] of `tokenizer.json`; it was trained on `languages` (ISO 639-1)."""

    languages: tuple[str, ...] = Field(min_length=1)
    max_tokens: int = Field(gt=0)
    width: int = Field(gt=0)
    clock: float | None = None


class VisionPart(BaseModel, frozen=True, extra="forbid"):
    """The vision part takes pixels [B T 3 size size] in [0, 1]."""

    size: int = Field(gt=0)
    width: int = Field(gt=0)
    clock: float | None = None


class FeaturesPart(BaseModel, frozen=True, extra="forbid"):
    """A part that takes a modality's precomputed features [B T size], computed by others, not its media."""

    size: int = Field(gt=0)
    width: int = Field(gt=0)


class Parts(BaseModel, frozen=True, extra="forbid"):
    """One part per modality that the bundle understands: of its media, or in `features` of its features."""

    speech: SpeechPart | None = None
    text: TextPart | None = None
    vision: VisionPart | None = None
    features: Mapping[str, FeaturesPart] = {}

    @field_validator("features")
    @classmethod
    def _known(cls, features: Mapping[str, FeaturesPart]) -> Mapping[str, FeaturesPart]:
        if unknown := sorted(set(features) - set(MODALITIES)):
            raise ValueError(f"features of {unknown[0]!r}: expected some of {', '.join(MODALITIES)}")
        return features

    def modalities(self) -> tuple[str, ...]:
        """All modalities that the bundle has a part for."""
        return tuple(name for name in MODALITIES if name in self.features or name in self.media())

    def media(self) -> tuple[str, ...]:
        """The modalities whose media it reads."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None)

    def width(self, modality: str) -> int:
        """D of the Tracks of a modality's part."""
        part = self.features.get(modality) or getattr(self, modality)
        return int(part.width)


class TaskInfo(BaseModel, frozen=True, extra="forbid"):
    """A task; `views` are the views that have a head of their own for it, in the order of the weights."""

    name: str
    kind: Literal["single-label", "multi-label", "dimension", "sequence"]
    labels: tuple[str, ...] = ()
    views: tuple[str, ...] = Field(min_length=1)


class VectorScale(BaseModel, frozen=True, extra="forbid"):
    """Vector scaling: the logits of a view, times `scale` [C] and plus `bias` [C], a number for each label."""

    scale: tuple[float, ...]
    bias: tuple[float, ...]

    @model_validator(mode="after")
    def _sound(self) -> VectorScale:
        if not all(map(math.isfinite, (*self.scale, *self.bias))) or not all(s > 0 for s in self.scale):
            raise ValueError("scale and bias must be finite, and scale above 0")
        if len(self.scale) != len(self.bias):
            raise ValueError(
                f"{len(self.scale)} numbers of scale, {len(self.bias)} of bias: expected as many"
            )
        return self


class Calibration(BaseModel, frozen=True, extra="forbid"):
    """Fitted on held-out people, for one precision, task and subset of modalities.

    Logits of a view (or of `vote`) are divided by its temperature; a view that has an entry in `vectors` is
    scaled by that instead, and its temperature is for when its head has been trained on. An answer less confident than
    `abstain_below` is "unsure". A label of a multi-label task is given when its probability reaches its entry
    in `label_thresholds` (0.5 unless said).
    """

    temperatures: Mapping[str, float] = {}
    vectors: Mapping[str, VectorScale] = {}
    abstain_below: float = Field(default=0.0, ge=0, le=1)
    label_thresholds: Mapping[str, float] = {}

    @field_validator("temperatures")
    @classmethod
    def _positive(cls, temperatures: Mapping[str, float]) -> Mapping[str, float]:
        if not all(math.isfinite(value) and value > 0 for value in temperatures.values()):
            raise ValueError("temperatures must be finite and above 0")
        return temperatures


class CorpusInfo(BaseModel, frozen=True, extra="forbid"):
    """A corpus that the weights were trained on."""

    name: str
    licence: str
    clips: int | None = None


class EmbeddingInfo(BaseModel, frozen=True, extra="forbid"):
    """The space of a model with towers: what means the same lies together there, whatever its modality.

    The fusion part gives `embedding.MODALITY` [B width] of unit length. `scale` turns cosines into logits;
    `templates` are what a class's name is put into ({}) when it is asked for in words.
    """

    width: int = Field(gt=0)
    modalities: tuple[str, ...] = Field(min_length=1)
    scale: float = Field(gt=0)
    templates: tuple[str, ...] = Field(default=("{}",), min_length=1)

    @field_validator("templates")
    @classmethod
    def _have_a_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if not all("{}" in template for template in templates):
            raise ValueError(f"templates {templates}: each needs {{}}, the place of a class's name")
        return templates


class BundleInfo(BaseModel, frozen=True, extra="forbid"):
    """`bundle.json`. `calibration` is keyed by precision, task and subset (see `subset_key`).

    `views` are all views of the fusion; `embedding` is the space that they share, in a model with towers.
    `reserved` names, per corpus, the people that training never saw; `leaks` says, in words, between which
    splits training was allowed to leak.
    `files` maps every other file of the bundle to its sha256 (lower-case hex); the writer fills it in.
    """

    format: int = FORMAT_VERSION
    name: str
    version: str
    licence: str
    tasks: tuple[TaskInfo, ...] = Field(min_length=1)
    views: tuple[str, ...] = Field(min_length=1)
    parts: Parts
    embedding: EmbeddingInfo | None = None
    calibration: Mapping[str, Mapping[str, Mapping[str, Calibration]]] = {}
    corpora: tuple[CorpusInfo, ...] = ()
    reserved: Mapping[str, tuple[str, ...]] = {}
    leaks: tuple[str, ...] = ()
    files: Mapping[str, str] = {}

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: Mapping[str, str]) -> Mapping[str, str]:
        for name in files:
            if name != os.path.basename(name) or "\\" in name or name.startswith(".") or name == CONTRACT:
                raise ValueError(f"file name {name!r} must be a plain name inside the bundle")
            if not name.endswith(_SUFFIXES):
                raise ValueError(
                    f"file {name!r} is of a kind that a bundle may not hold ({', '.join(_SUFFIXES)})"
                )
        return files

    @model_validator(mode="after")
    def _consistent(self) -> BundleInfo:
        if not self.parts.modalities():
            raise ValueError("a bundle needs at least one of the parts speech, text, vision")
        if len({task.name for task in self.tasks}) != len(self.tasks):
            raise ValueError("two tasks share one name")
        for task in self.tasks:
            if task.kind != "dimension" and len(task.labels) < 2:
                raise ValueError(f"task {task.name!r} needs at least two labels")
            if len(set(task.labels)) != len(task.labels):
                raise ValueError(f"task {task.name!r} names a label twice")
            if not set(task.views) <= set(self.views):
                raise ValueError(f"task {task.name!r} has a view that the bundle does not: {task.views}")
        if self.embedding is not None and not set(self.embedding.modalities) <= set(self.parts.modalities()):
            raise ValueError(f"the embedding names a modality without a part: {self.embedding.modalities}")
        if self.parts.text is not None and self.files and "tokenizer.json" not in self.files:
            raise ValueError("the text part needs tokenizer.json")
        return self

    @model_validator(mode="after")
    def _a_number_for_each_label(self) -> BundleInfo:
        labels = {task.name: len(task.labels) for task in self.tasks}
        for task, subsets in ((t, s) for tasks in self.calibration.values() for t, s in tasks.items()):
            for vector in (v for calibration in subsets.values() for v in calibration.vectors.values()):
                if len(vector.scale) != labels.get(task):
                    found, wanted = len(vector.scale), labels.get(task, 0)
                    raise ValueError(f"vectors of {task!r} have {found} numbers, expected {wanted}")
        return self

    def task(self, name: str) -> TaskInfo | None:
        """The task of this name, or None."""
        return next((task for task in self.tasks if task.name == name), None)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, every byte verified. `sha256` is that of bundle.json and so vouches for all files."""

    path: Path
    info: BundleInfo
    sha256: str

    def precisions(self) -> tuple[str, ...]:
        """The precisions whose parts are all there."""
        needed = (*self.info.parts.modalities(), FUSION)
        return tuple(p for p in PRECISIONS if all(part_file(name, p) in self.info.files for name in needed))

    def read(self, name: str) -> bytes:
        """The bytes of one file, verified again: what is used is what was vouched for.

        Raises BundleError `bundle_tampered` when the file changed since, `bundle_not_found` when not listed.
        """
        if name not in self.info.files:
            raise BundleError(
                "bundle_not_found", f"{self.path} holds no {name}: it has {', '.join(self.info.files)}"
            )
        with BundleStorage(self.path) as storage, storage.open(name) as stream:
            data = stream.read()
        _verify(self.path, name, hashlib.sha256(data).hexdigest(), self.info.files[name])
        return data

    def read_part(self, name: str, precision: str) -> bytes:
        """The ONNX bytes of one part: "speech", "text", "vision" or "fusion".

        Raises BundleError `bundle_not_found` when the bundle lacks the precision, `bundle_invalid` when the
        graph points at data outside itself or holds NaN.
        """
        file = part_file(name, precision)
        if file not in self.info.files:
            raise BundleError(
                "bundle_not_found",
                f"{self.path} has no {precision} {name} (it has {', '.join(self.precisions()) or 'none'}): "
                f"make it with `affetto export {self.path} -o OUT --precision {precision}`",
            )
        data = self.read(file)
        if points_outside(data):
            raise BundleError("bundle_invalid", f"{self.path}: {file} points at data outside itself; refused")
        if has_nan(data):
            raise BundleError(
                "bundle_invalid", f"{self.path}: {file} has NaN among its weights; train it again"
            )
        return data


def part_file(part: str, precision: str) -> str:
    """The file name of a part: `speech.onnx` in fp32, `speech.int8.onnx` in int8."""
    return f"{part}.onnx" if precision == "fp32" else f"{part}.{precision}.onnx"


def subset_key(modalities: Iterable[str]) -> str:
    """The name of a subset of modalities, in one order whatever the order given: "speech+text"."""
    given = set(modalities)
    return "+".join(name for name in MODALITIES if name in given)


def open_bundle(path: str | Path | None = None) -> Bundle:
    """Open and verify a bundle: a folder or a zip; the one that ships inside affetto when `path` is None.

    Raises BundleError `bundle_not_found` (no such bundle, a listed file missing), `bundle_invalid` (unknown
    format version, a contract that cannot be understood, a path that leaves the bundle), `bundle_tampered` (a
    sha256 differs).
    """
    root = DEFAULT_BUNDLE if path is None else Path(path)
    with BundleStorage(root) as storage:
        if not storage.has(CONTRACT):
            raise BundleError(
                "bundle_not_found", f"{root} is not a bundle: expected a folder or zip with {CONTRACT}"
            )
        with storage.open(CONTRACT) as stream:
            contract = stream.read(_CONTRACT_LIMIT + 1)
        info = _parse_contract(root, contract)
        for name, expected in info.files.items():
            if not storage.has(name):
                raise BundleError(
                    "bundle_not_found",
                    f"{root} is incomplete: {name} is listed but not there; fetch it again",
                )
            with storage.open(name) as stream:
                _verify(root, name, _digest(stream), expected)
    return Bundle(root, info, hashlib.sha256(contract).hexdigest())


def describe(bundle: Bundle) -> str:
    """A bundle in plain words, some lines of text."""
    info = bundle.info
    lines = [f"{info.name} {info.version} ({info.licence}), sha256 {bundle.sha256[:12]}"]
    lines += [f"task {t.name} ({t.kind}): {', '.join(t.labels) or 'a number'}" for t in info.tasks]
    lines.append(f"parts: {', '.join(info.parts.modalities())}; precisions: {', '.join(bundle.precisions())}")
    if info.embedding is not None:
        lines.append(f"one space of {info.embedding.width} for {', '.join(info.embedding.modalities)}")
    if info.parts.text is not None:
        lines.append(f"reads text in: {', '.join(info.parts.text.languages)}")
    lines += [
        f"trained on {c.name} ({c.licence}{f', {c.clips} clips' if c.clips else ''})" for c in info.corpora
    ]
    lines += [f"never trained on {', '.join(people)} of {corpus}" for corpus, people in info.reserved.items()]
    return "\n".join(lines)


def _parse_contract(root: Path, contract: bytes) -> BundleInfo:
    if len(contract) > _CONTRACT_LIMIT:
        raise BundleError("bundle_invalid", f"{root}: {CONTRACT} is larger than {_CONTRACT_LIMIT >> 20} MiB")
    try:
        raw = json.loads(contract)
        version = raw["format"]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise BundleError(
            "bundle_invalid", f"{root}: {CONTRACT} is not JSON with a `format` version"
        ) from error
    if version != FORMAT_VERSION:
        raise BundleError(
            "bundle_invalid",
            f"{root} has bundle format {version!r}, expected {FORMAT_VERSION}: update affetto",
        )
    try:
        return BundleInfo.model_validate_json(contract)
    except ValidationError as error:
        raise BundleError("bundle_invalid", f"{root}: {CONTRACT}: {first_problem(error)}") from error


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a contract, in one line."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(step) for step in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])


def _verify(root: Path, name: str, found: str, expected: str) -> None:
    if found != expected:
        raise BundleError(
            "bundle_tampered",
            f"{root}: {name} was changed (sha256 {found[:12]}, expected {expected[:12]}); fetch it again",
        )
