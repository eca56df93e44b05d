"""A whole run, from YAML and to it; and settings that exclude or need each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from affetto.errors import ConfigError
from affetto.learn.config.data import DataConfig
from affetto.learn.config.model import ModelConfig
from affetto.learn.config.ranges import Whole
from affetto.learn.config.train import ContrastiveConfig, StageConfig, TrainConfig
from affetto.learn.settings import put, read_section, to_dict
from affetto.records import MODALITIES

T = TypeVar("T")


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that a run depends on. `seed` is the source of all its randomness.

    `licence` is that of the weights; None lists those of the corpora.
    """

    name: str
    seed: Whole = 0
    licence: str | None = None
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
    """A section of the tree, or the whole of it, from plain values. Fields left out take their defaults.

    Raises ConfigError naming every fault at once: `config_unknown_key` when a key does not exist (with the
    nearest one that does), else `config_invalid` for wrong types, ranges and contradictions.
    """
    config = read_section(cls, values)
    if isinstance(config, ExperimentConfig):
        found = _contradictions(config)
        if found:
            raise ConfigError("config_invalid", "; ".join(found))
    return config


def from_yaml(text: str) -> ExperimentConfig:
    """A run's tree from YAML. Raises ConfigError `config_invalid`, `config_unknown_key`."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError("config_invalid", f"not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping):
        raise ConfigError("config_invalid", f"expected name, data, model and train; got {values!r}")
    return from_dict(ExperimentConfig, values)


def to_yaml(config: ExperimentConfig) -> str:
    """The tree as YAML; `from_yaml` gives an equal tree back."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def load_config(path: str | Path) -> ExperimentConfig:
    """A run's tree from a YAML file. Raises ConfigError `config_invalid`, `config_unknown_key`."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("config_invalid", f"cannot read the settings in {path}: {error}") from error
    return from_yaml(text)


def apply_settings(config: ExperimentConfig, settings: Sequence[str]) -> ExperimentConfig:
    """The tree with `path=value` settings applied, as `--set train.stages.0.lr=1e-3` gives them.

    Values are YAML. A section that is None begins from its defaults. Raises ConfigError `config_unknown_key`
    or `config_invalid`.
    """
    tree = to_dict(config)
    for setting in settings:
        put(tree, setting)
    return from_dict(ExperimentConfig, tree)


def _contradictions(config: ExperimentConfig) -> list[str]:
    """What each value alone cannot show: settings that exclude or need each other."""
    data, model, found = config.data, config.model, []
    if (data.folds is None) != (data.fold is None):
        found.append("data.folds and data.fold: give both or neither")
    elif data.folds is not None and data.fold is not None:
        count = data.folds**2 if data.fold_by == "speaker+sentence" else data.folds
        if data.fold >= count:
            found.append(f"data.fold: expected 0 to {count - 1}, got {data.fold}")
    augment = data.augment
    for name, (low, high) in {
        "snr_low and snr_high": (augment.snr_low, augment.snr_high),
        "speed_range": augment.speed_range,
        "crop_seconds": augment.crop_seconds,
    }.items():
        if low > high:
            found.append(f"data.augment.{name}: expected low to high, got {low:g} and {high:g}")
    for name in model.features:
        if name not in MODALITIES:
            found.append(f"model.features: expected some of {', '.join(MODALITIES)}, got {name!r}")
        elif getattr(model, name) is not None:
            found.append(f"model.{name} and model.features.{name}: a modality is read one way, give one")
    found.extend(_repeated("model.tasks", [task.name for task in model.tasks]))
    for i, task in enumerate(model.tasks):
        if task.kind not in ("dimension", "identity") and len(task.labels) < 2:
            told = ", ".join(task.labels) or "none"
            found.append(f"model.tasks.{i}.labels: {task.name} needs at least two to tell apart, got {told}")
        found.extend(_repeated(f"model.tasks.{i}.labels", task.labels))
    found.extend(_repeated("train.stages", [stage.name for stage in config.train.stages]))
    for i, stage in enumerate(config.train.stages):
        if (stage.steps is None) == (stage.epochs is None):
            found.append(f"train.stages.{i}: give exactly one of steps and epochs")
        if stage.distil is not None and (stage.paired or stage.objective != "supervised"):
            found.append(
                f"train.stages.{i}.distil: a teacher answers clips as they are, not paired or masked ones"
            )
        if stage.hint is not None and (model.speech is None or not _can_tell(stage)):
            found.append(
                f"train.stages.{i}.hint: an encoder of speech tells them, of supervised clips that are neither "
                "paired nor mixed up, and without contrastive.chunk"
            )
        absent = [name for name in stage.modalities if name not in model.modalities]
        if absent or not stage.modalities:
            have = ", ".join(model.modalities) or "none"
            found.append(f"train.stages.{i}.modalities: the model has {have}, got {list(stage.modalities)}")
        if stage.contrastive is not None:
            found.extend(
                f"train.stages.{i}.contrastive: {fault}" for fault in _unfit(stage, stage.contrastive)
            )
    return found


def _can_tell(stage: StageConfig) -> bool:
    chunked = stage.contrastive is not None and stage.contrastive.chunk is not None
    mixed = stage.mixup > 0.0 or stage.track_mixup > 0.0
    unfit = stage.paired or mixed or chunked or stage.objective != "supervised"
    return "speech" in stage.modalities and not unfit


def _unfit(stage: StageConfig, contrastive: ContrastiveConfig) -> list[str]:
    found = []
    if len(stage.modalities) < 2 and contrastive.loss != "supervised":
        found.append(f"{contrastive.loss} compares modalities, the stage has {', '.join(stage.modalities)}")
    if contrastive.chunk is not None and (stage.track_mixup or stage.consistency or stage.reconstruction):
        found.append("chunk keeps no Track for track_mixup, consistency or reconstruction: leave these at 0")
    if contrastive.distillation and not {"speech", "vision"} <= set(stage.modalities):
        found.append(f"distillation goes from vision to speech, got {', '.join(stage.modalities)}")
    return found


def _repeated(path: str, names: Sequence[str]) -> list[str]:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    return [f"{path}: {name!r} is there twice" for name in twice]
