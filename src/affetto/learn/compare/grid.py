"""The variants of an experiment: each combination of the settings that vary, and each modality alone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from affetto.errors import ConfigError
from affetto.learn.config import ExperimentConfig, FusionConfig, ModelConfig, apply_settings
from affetto.learn.settings import to_dict


@dataclass(frozen=True)
class Variant:
    """A model to compare; `alone` names the modality where it has but one, as a reference."""

    name: str
    config: ExperimentConfig
    alone: str | None = None


def variants(config: ExperimentConfig, vary: Sequence[str]) -> list[Variant]:
    """Every combination of `vary`, then each modality alone: settings `path=a,b,c`, the values in YAML.

    A path to a section that has a name stands for its name: `model.fusion=concat,gated`. Without `vary` the
    experiment itself is the only combination. Raises ConfigError `config_invalid` for a setting without
    values or two combinations of one name, and as `apply_settings` does.
    """
    axes = [_axis(config, setting) for setting in vary]
    made = [
        Variant(
            ", ".join(_shown(path, value) for path, value in chosen) or config.name,
            apply_settings(config, [f"{path}={json.dumps(value)}" for path, value in chosen]),
        )
        for chosen in itertools.product(*axes)
    ]
    names = [variant.name for variant in made]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError("config_invalid", f"--vary gives {twice[0]!r} twice: give every value once")
    modalities = config.model.modalities
    single = [Variant(f"{name} alone", alone(config, name), name) for name in modalities]
    return [*made, *(single if len(modalities) > 1 else ())]


def alone(config: ExperimentConfig, modality: str) -> ExperimentConfig:
    """The experiment with one of its modalities: the same encoder, stages and data, and nothing to fuse."""
    model, train = config.model, config.train
    others = [name for name in model.modalities if name != modality]
    absent: dict[str, Any] = {name: None for name in others if getattr(model, name) is not None}
    gone = tuple(f"encoders.{name}" for name in others)
    stages = [
        replace(
            stage,
            modalities=(modality,),
            modality_dropout=0.0,
            freeze=tuple(prefix for prefix in stage.freeze if not prefix.startswith(gone)),
        )
        for stage in train.stages
        if modality in stage.modalities
    ]
    return replace(
        config,
        model=replace(
            model,
            **absent,
            features={name: section for name, section in model.features.items() if name == modality},
            fusion=FusionConfig(name="late", vote="mean", dropout=model.fusion.dropout),
            tasks=tuple(replace(task, views=None) for task in model.tasks),
        ),
        train=replace(train, stages=tuple(stages)),
    )


def media_of(model: ModelConfig) -> dict[str, object]:
    """Modality to all that decides how it is decoded: models alike in it can share decoded media."""
    found: dict[str, object] = {name: section.size for name, section in model.features.items()}
    if model.speech is not None:
        found["speech"] = ("medium", model.speech.margin_seconds)
    if model.text is not None:
        found["text"] = ("medium", model.text.max_tokens, model.text.vocab_size)
    if model.vision is not None:
        found["vision"] = ("medium", model.vision.size)
    return found


def _axis(config: ExperimentConfig, setting: str) -> list[tuple[str, Any]]:
    path, _, text = setting.partition("=")
    path = path.strip()
    try:
        values = yaml.safe_load(f"[{text}]")
    except yaml.YAMLError:
        values = None
    if not path or not values:
        raise ConfigError("config_invalid", f"--vary {setting!r}: expected path=value,value, like seed=1,2")
    return [(_named(config, path), value) for value in values]


def _named(config: ExperimentConfig, path: str) -> str:
    node: Any = to_dict(config)
    for step in path.split("."):
        node = node.get(step) if isinstance(node, dict) else None
    return f"{path}.name" if isinstance(node, dict) and "name" in node else path


def _shown(path: str, value: Any) -> str:
    """How a value is called in a table: a part by its name alone, a number with its setting's."""
    *_, last = path.split(".")
    return str(value) if last == "name" else f"{last}={json.dumps(value)}".replace('"', "")
