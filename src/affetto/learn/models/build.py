"""From a ModelConfig to a model: the only reader of ModelConfig, and the place where names become classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import torch
from torch import nn

from affetto.errors import ConfigError
from affetto.learn.config import BackboneConfig, ModelConfig, SpeechConfig, TaskConfig, TextConfig
from affetto.learn.decoders import HEADS, SHARINGS
from affetto.learn.decoders.heads import AdversarialHead
from affetto.learn.encoders import ENCODERS
from affetto.learn.encoders.frontend import SpecAugment, SpeechFrontEnd
from affetto.learn.encoders.pretrained.backbone import Backbone
from affetto.learn.encoders.pretrained.source import open_backbone, open_tokenizer, rebuild_backbone
from affetto.learn.encoders.pretrained.speech_embedding import BoundedLogMel
from affetto.learn.encoders.text import load_vectors
from affetto.learn.fusion import FUSED, FUSIONS, VOTES
from affetto.learn.layers.low_rank import add_corrections, merge_corrections
from affetto.learn.models.recogniser import Recogniser
from affetto.learn.models.reconstructor import Reconstructor

#: What is made of a pretrained backbone.
_ON_BACKBONES = ("pretrained", "prefix")
#: Part of the model ("speech", "text", "vision", "fusion") to the form of its pretrained backbone.
Forms = Mapping[str, Mapping[str, Any]]


def build_recogniser(
    config: ModelConfig, *, tokens: Sequence[str] | None = None, forms: Forms | None = None
) -> Recogniser:
    """A recogniser with fresh weights, drawn from torch's global generator, and pretrained backbones.

    `tokens` is the vocabulary in order: with it, the word vectors that `config.text.vectors` names become the
    first weights of the text encoder. Without it (when trained weights follow) the file is not opened.
    `forms` are those of the backbones: with them (when trained weights follow) these are not opened either, nor
    is the file of `config.speech.weights`.

    Raises ConfigError `config_invalid` for unknown names and sizes that do not fit, naming the path;
    `backbone_unavailable`.
    """
    if not config.modalities:
        raise ConfigError("config_invalid", "model: expected at least one of speech, text, vision")
    encoders = {name: _encoder(name, config, forms) for name in config.modalities}
    if config.text is not None and config.text.vectors is not None and tokens is not None:
        _set_vectors(encoders["text"], config.text, tokens)
    fusion = _fusion(config, forms)
    views = {task.name: _views(task, fusion.views, f"model.tasks.{i}") for i, task in enumerate(config.tasks)}
    heads = {
        task.name: {view: _head(task, config.dim, f"model.tasks.{i}") for view in views[task.name]}
        for i, task in enumerate(config.tasks)
    }
    vote = config.fusion.vote or fusion.vote
    votes = {task.name: _vote(task, views[task.name], vote) for task in config.tasks}
    return Recogniser(
        encoders,
        fusion,
        heads,
        votes,
        sharing=_sharing(config, views),
        private=[task.name for task in config.tasks if task.private],
    )


def build_reconstructor(config: ModelConfig, model: Recogniser, modalities: Sequence[str]) -> Reconstructor:
    """What guesses a missing modality from the fused view of a model, with fresh weights.

    Raises ConfigError `config_invalid` for a fusion without a fused view.
    """
    if FUSED not in model.fusion.views:  # type: ignore[operator]
        raise ConfigError(
            "config_invalid",
            f"model.fusion: {config.fusion.name} has no fused view to reconstruct from; choose another fusion, "
            "or set the stage's reconstruction to 0",
        )
    return Reconstructor(modalities, config.dim)


def add_adapters(recogniser: Recogniser, config: ModelConfig) -> None:
    """Put a fresh LoRA adapter into every backbone that the config wants one for.

    Raises ConfigError `config_invalid`, naming the path.
    """
    for name, backbone in backbones(recogniser).items():
        lora = getattr(config, name).backbone.lora
        if lora is not None:
            backbone.adapt(rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, targets=lora.targets)


def learn_corrections(recogniser: Recogniser, rank: int) -> None:
    """Let encoders and fusion learn no more than corrections of low rank to the weights that they have now; what is
    frozen of pretrained backbones stays as it is."""
    frozen = [backbone for backbone in backbones(recogniser).values() if backbone.trained_layers == 0]
    still = {module for backbone in frozen for module in backbone.modules()}
    for part in (*recogniser.encoders.values(), recogniser.fusion):
        add_corrections(part, rank, still)


def write_corrections(recogniser: Recogniser) -> None:
    """Write what `learn_corrections` let the model learn into its weights, if anything."""
    merge_corrections(recogniser)


def backbones(recogniser: Recogniser) -> dict[str, Backbone]:
    """The pretrained backbones of a model by its part."""
    parts: dict[str, Any] = {**dict(recogniser.encoders.items()), "fusion": recogniser.fusion}
    return {name: part.backbone for name, part in parts.items() if hasattr(part, "backbone")}


def pretrained_tokenizer(config: ModelConfig) -> bytes | None:
    """The tokenizer.json that a pretrained text encoder brings along; None for any other encoder.

    Raises ConfigError `backbone_unavailable`.
    """
    if config.text is None or config.text.backbone is None:
        return None
    return open_tokenizer(config.text.backbone.path, config.text.backbone.revision)


def resolve(registry: Mapping[str, str], name: str, path: str) -> Callable[..., Any]:
    """What a registry's entry `module:name` points to.

    Raises ConfigError `config_invalid`, naming the nearest known name, when `name` is not there.
    """
    if name not in registry:
        nearest = get_close_matches(name, registry, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        known = ", ".join(registry)
        raise ConfigError("config_invalid", f"{path}: expected one of {known}, got {name!r}{hint}")
    module, _, attribute = registry[name].partition(":")
    return getattr(import_module(module), attribute)


def _encoder(modality: str, config: ModelConfig, forms: Forms | None) -> nn.Module:
    if modality in config.features:
        path = f"model.features.{modality}"
        return _build(ENCODERS["features"], path, config.features[modality], config.dim)
    section = getattr(config, modality)
    path = f"model.{modality}"
    _check_backbone(path, section)
    if getattr(section, "weights", None) is not None and section.name != "speech_embedding":
        raise ConfigError("config_invalid", f"{path}.weights: only speech_embedding has weights to load")
    if section.backbone is not None:
        backbone = _backbone(modality, section.backbone, forms, modality)
        return _build(ENCODERS[modality], path, section, config.dim, backbone)
    if isinstance(section, SpeechConfig):
        encoder = _build(ENCODERS[modality], path, section, config.dim, _speech_front_end(section))
        if section.weights is not None and forms is None:
            encoder.load(section.weights)
        return encoder
    return _build(ENCODERS[modality], path, section, config.dim)


def _fusion(config: ModelConfig, forms: Forms | None) -> Any:
    parts: list[Any] = [config.modalities, config.dim]
    _check_backbone("model.fusion", config.fusion)
    if config.fusion.backbone is not None:
        parts.append(_backbone("fusion", config.fusion.backbone, forms, "text"))
    return _build(FUSIONS, "model.fusion", config.fusion, *parts)


def _check_backbone(path: str, section: Any) -> None:
    if (section.name in _ON_BACKBONES) != (section.backbone is not None):
        names = " and ".join(_ON_BACKBONES)
        raise ConfigError("config_invalid", f"{path}.backbone: {names} need one, no other name takes one")


def _backbone(part: str, config: BackboneConfig, forms: Forms | None, modality: str) -> Backbone:
    """The backbone of a part of the model, with its weights, or rebuilt from its form."""
    if forms is not None and part in forms:
        form = forms[part]
        model = rebuild_backbone(form)
    else:
        model, form = open_backbone(config.path, config.revision, modality)
    try:
        return Backbone(
            model,
            form,
            layer=config.layer,
            trained_layers=config.trained_layers,
            pooling=config.pooling,
            gradient_checkpointing=config.gradient_checkpointing,
        )
    except ValueError as error:
        raise ConfigError("config_invalid", f"model.{part}.backbone: {error}") from error


def _speech_front_end(config: SpeechConfig) -> SpeechFrontEnd | BoundedLogMel:
    sizes = config.specaugment
    augment = SpecAugment(
        frequency_masks=sizes.frequency_masks,
        frequency_width=sizes.frequency_width,
        time_masks=sizes.time_masks,
        time_seconds=sizes.time_seconds,
        warp=sizes.warp,
    )
    if config.name == "speech_embedding":
        return BoundedLogMel(augment)
    return SpeechFrontEnd(config.n_mels, config.normalise_seconds, augment)


def _build(registry: Mapping[str, str], path: str, section: Any, *parts: Any) -> Any:
    """The class that `section.name` names, given `parts` and those settings that its constructor asks for."""
    cls = resolve(registry, section.name, f"{path}.name")
    asked = inspect.signature(cls).parameters.values()
    settings = {p.name: getattr(section, p.name) for p in asked if p.kind is p.KEYWORD_ONLY}
    try:
        return cls(*parts, **settings)
    except ValueError as error:
        raise ConfigError("config_invalid", f"{path}: {error}") from error


def _views(task: TaskConfig, views: tuple[str, ...], path: str) -> tuple[str, ...]:
    """The task's views in the fusion's order."""
    if task.views is None:
        return views
    unknown = [view for view in task.views if view not in views]
    if unknown or not task.views:
        got = ", ".join(task.views) or "none"
        raise ConfigError("config_invalid", f"{path}.views: expected some of {', '.join(views)}, got {got}")
    return tuple(view for view in views if view in task.views)


def _head(task: TaskConfig, dim: int, path: str) -> nn.Module:
    if task.kind == "sequence":
        raise ConfigError("config_invalid", f"{path}.kind: a recogniser has no head for sequences yet")
    classes = 1 if task.kind == "dimension" else len(task.labels)
    try:
        head = resolve(HEADS, task.head, f"{path}.head")(dim, classes)
    except ValueError as error:
        raise ConfigError("config_invalid", f"{path}: {error}") from error
    return AdversarialHead(head, task.adversarial) if task.adversarial else head


def _sharing(config: ModelConfig, views: Mapping[str, Sequence[str]]) -> dict[str, nn.Module]:
    """A sharing form for each view that a task asks, over those tasks; {} where tasks share views as they are."""
    if config.sharing is None:
        return {}
    asked: dict[str, list[str]] = {}
    for task, names in views.items():
        for view in names:
            asked.setdefault(view, []).append(task)
    return {
        view: _build(SHARINGS, "model.sharing", config.sharing, tasks, config.dim)
        for view, tasks in asked.items()
    }


def _vote(task: TaskConfig, views: tuple[str, ...], name: str) -> nn.Module:
    kind = "single-label" if task.kind == "identity" else task.kind
    # A task without the fused view, or of a kind that has no majority, takes the vote that suits it.
    if (name == FUSED and FUSED not in views) or (name == "majority" and kind != "single-label"):
        name = "learned" if name == FUSED else "mean"
    return resolve(VOTES, name, "model.fusion.vote")(views, kind)


def _set_vectors(encoder: nn.Module, config: TextConfig, tokens: Sequence[str]) -> None:
    vectors, known = load_vectors(str(config.vectors), tokens)
    weight = encoder.get_submodule("embedding").get_parameter("weight")
    if vectors.shape != weight.shape:
        raise ConfigError(
            "config_invalid",
            f"model.text: {config.vectors} gives {vectors.shape[0]} vectors of {vectors.shape[1]}, expected "
            f"vocab_size {weight.shape[0]} of width {weight.shape[1]}",
        )
    with torch.no_grad():
        weight[known] = vectors[known]
