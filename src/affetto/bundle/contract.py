"""What `bundle.json` says: the contract between what learns and what answers."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from affetto.bundle.storage import CONTRACT
from affetto.records import MODALITIES

FORMAT_VERSION = 1

_SUFFIXES = (".onnx", ".safetensors", ".json", ".md")


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

    A recording of up to `window_seconds` is answered as one, a step of a timeline by the `timeline_seconds`
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

    def may_have_learnt(self, corpus: str | None, speaker: str | None) -> bool:
        """Whether training read a corpus, and did not keep this person of it out."""
        named = {known.name for known in self.corpora}
        return corpus in named and speaker not in self.reserved.get(str(corpus), ())

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


def subset_key(modalities: Iterable[str]) -> str:
    """The name of a subset of modalities, in one order whatever the order given: "speech+text"."""
    given = set(modalities)
    return "+".join(name for name in MODALITIES if name in given)


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a contract, in one line."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(step) for step in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
