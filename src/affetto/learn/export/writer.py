"""From a trained model to a bundle, and from a bundle back to a model that training can start from.

Weights are rounded to fp16 first and everything is made from the rounded ones: parts made again later from
`model.safetensors` are then the parts that were measured.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from affetto.bundle import (
    FUSION,
    PRECISIONS,
    Bundle,
    BundleInfo,
    Calibration,
    CorpusInfo,
    EmbeddingInfo,
    FeaturesPart,
    Parts,
    SpeechPart,
    TaskInfo,
    TextPart,
    VisionPart,
    Voice,
    part_file,
)
from affetto.errors import AffettoError, BundleError, TrainingError
from affetto.learn.config import ModelConfig, from_dict
from affetto.learn.export.card import Card, render_card
from affetto.learn.export.folder import as_json, write_bundle_folder
from affetto.learn.export.onnx import INPUTS, export_parts, features_of
from affetto.learn.export.parity import compare_precisions, compare_with_torch, random_items
from affetto.learn.export.parts import Inputs, padded
from affetto.learn.export.quantise import Quantised, convolves, quantise_dynamic, quantise_static
from affetto.learn.export.stored import is_rounded, stored_weights
from affetto.learn.models.build import backbones, build_recogniser
from affetto.learn.models.recogniser import Recogniser
from affetto.learn.settings import to_dict
from affetto.learn.training.media_cache import WINDOW_SECONDS

WEIGHTS, CONFIG, TOKENIZER, PARITY, README = (
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "parity.json",
    "README.md",
)
_COMPARED = 12  # random items against torch, each alone and in a batch


@dataclass(frozen=True)
class Facts:
    """What a bundle says of itself beside its weights. `languages` are those that its text part reads."""

    name: str
    version: str
    licence: str
    languages: tuple[str, ...] = ()
    corpora: tuple[CorpusInfo, ...] = ()
    reserved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    leaks: tuple[str, ...] = ()
    card: Card = field(default_factory=Card)


def write_bundle(
    model: Recogniser,
    config: ModelConfig,
    out: str | Path,
    facts: Facts,
    *,
    tokenizer: bytes | None = None,
    examples: Sequence[Inputs] = (),
    truth: Sequence[int] | None = None,
    calibration: Mapping[str, Mapping[str, Mapping[str, Calibration]]] | None = None,
    voice: Voice | None = None,
    precisions: Sequence[str] = PRECISIONS,
    kept: Mapping[str, bytes] = MappingProxyType({}),
) -> Bundle:
    """Export, quantise, compare, and write the bundle of a trained model; the model itself is not changed.

    tokenizer: the bytes of tokenizer.json, for a model that reads text. examples: items of typical media
    (prepared inputs, any subset each), which give int8 its scales and its comparison with fp32; truth: their
    emotions, as places among the task's labels. calibration: see `BundleInfo`; `calibrate.fit_calibration`
    wants a bundle first, and `with_calibration` then adds it. voice: of a speech part that has one already.
    precisions: the parts that the bundle keeps. kept: files of parts that are there already, and the same, such as
    those of an earlier bundle.

    Raises TrainingError `parity_failed`, BundleError `output_unwritable`, `run_exists`, `bundle_invalid`.
    """
    twin = rounded(model)
    parts, parity = _make_parts(twin, config, precisions, examples, truth, kept)
    info = BundleInfo(
        name=facts.name,
        version=facts.version,
        licence=facts.licence,
        tasks=tuple(_task(task.name, config, twin) for task in config.tasks if not task.private),
        views=tuple(twin.fusion.views),  # type: ignore[arg-type]
        parts=_parts_info(twin, config, facts, voice),
        embedding=_embedding_info(twin, config),
        calibration=calibration or {},
        corpora=facts.corpora,
        reserved=facts.reserved,
        leaks=facts.leaks,
    )
    files = {
        **parts,
        **weight_files(twin),
        CONFIG: as_json({"model_type": "affetto", "model": to_dict(_portable(config))}),
        PARITY: as_json(parity),
        README: render_card(info, facts.card, parity).encode(),
    }
    files |= {_form_file(part): as_json(backbone.form) for part, backbone in backbones(twin).items()}
    if tokenizer is not None:
        files[TOKENIZER] = tokenizer
    return write_bundle_folder(out, info, files)


def with_calibration(
    bundle: Bundle,
    out: str | Path,
    calibration: Mapping[str, Mapping[str, Mapping[str, Calibration]]],
    card: Card,
    voice: Voice | None = None,
) -> Bundle:
    """The bundle again, with calibration fitted, `voice` if given, and its card written anew. `out` may be the
    bundle itself."""
    info = bundle.info.model_copy(update={"calibration": calibration})
    if voice is not None and info.parts.speech is not None:
        speech = info.parts.speech.model_copy(update={"voice": voice})
        info = info.model_copy(update={"parts": info.parts.model_copy(update={"speech": speech})})
    files = {name: bundle.read(name) for name in info.files}
    files[README] = render_card(info, card, json.loads(files.get(PARITY, b"{}"))).encode()
    return write_bundle_folder(out, info, files)


def remake_parts(
    bundle: Bundle, out: str | Path, precision: str, *, examples: Sequence[Inputs] = (), once: bool = False
) -> Bundle:
    """The bundle with the parts of one precision and no other: those it has, or new ones from its weights.

    `examples` are needed to make int8 parts. once: weights that the parts hold are in the bundle once, there, and
    what training starts from is rounded as they are. Raises BundleError and TrainingError as `write_bundle` does.
    """
    names = {name: part_file(name, precision) for name in (*bundle.info.parts.modalities(), FUSION)}
    files = {name: bundle.read(name) for name in bundle.info.files if not name.endswith(".onnx")}
    if there := set(names.values()) <= set(bundle.info.files):
        parts = {file: bundle.read(file) for file in names.values()}
    else:
        parts, parity = _make_parts(load_model(bundle), load_config(bundle), [precision], examples, None)
        # A comparison that was made with labels, when the bundle was written, is worth more than a new one.
        files[PARITY] = as_json({**parity, **json.loads(files.get(PARITY, b"{}"))})
    if once or not there:
        files = {name: data for name, data in files.items() if not name.endswith(".safetensors")}
        held = {name: parts[file] for name, file in names.items()} if once else {}
        files |= weight_files(load_model(bundle), held)
    return write_bundle_folder(out, bundle.info, {**files, **parts})


def load_config(bundle: Bundle) -> ModelConfig:
    """The model section of the config that the bundle's weights belong to."""
    try:
        return from_dict(ModelConfig, json.loads(bundle.read(CONFIG))["model"])
    except (ValueError, KeyError, TypeError, AffettoError) as error:
        raise BundleError("bundle_invalid", f"{bundle.path}: {CONFIG} holds no model: {error}") from error


def load_model(bundle: Bundle) -> Recogniser:
    """The bundle's model with its weights, in evaluation mode: what training starts from.

    Raises BundleError `bundle_invalid` when config and weights do not belong together.
    """
    model = build_recogniser(load_config(bundle), forms=_load_forms(bundle))
    try:
        model.load_state_dict(_load_weights(bundle, model))
    except (RuntimeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            "bundle_invalid", f"{bundle.path}: {WEIGHTS} does not fit {CONFIG}: {reason}"
        ) from error
    return model.eval()


def _load_weights(bundle: Bundle, model: Recogniser) -> dict[str, Tensor]:
    """All weights that the bundle has: of its own files, and what is in its parts alone."""
    files = [name for name in (WEIGHTS, *map(_backbone_file, backbones(model))) if name in bundle.info.files]
    weights = [safetensors.torch.load(bundle.read(name)) for name in files]
    found = {name: value for part in weights for name, value in part.items()}
    missing = {name: value.shape for name, value in model.state_dict().items() if name not in found}
    if missing:
        precision = next(iter(bundle.precisions()), PRECISIONS[0])
        parts = {
            name: bundle.read_part(name, precision) for name in (*bundle.info.parts.modalities(), FUSION)
        }
        found |= stored_weights(parts, missing)
    return found


def _form_file(part: str) -> str:
    """Where the form of a part's backbone stands."""
    return f"{part}.backbone.json"


def _backbone_file(part: str) -> str:
    """Where the weights of a part's backbone stand: apart from all others, under a hash of their own."""
    return f"{part}.backbone.safetensors"


def _load_forms(bundle: Bundle) -> dict[str, Any]:
    names = {part: _form_file(part) for part in (*bundle.info.parts.modalities(), FUSION)}
    return {part: json.loads(bundle.read(name)) for part, name in names.items() if name in bundle.info.files}


def rounded(model: Recogniser) -> Recogniser:
    """A copy on the CPU, in evaluation mode, adapters merged, whose weights are exact in fp16.

    Raises TrainingError `loss_not_finite` for weights that are not finite, or too large for fp16.
    """
    twin = copy.deepcopy(model).cpu().float().eval()
    for backbone in backbones(twin).values():
        backbone.merge()
    with torch.no_grad():
        for name, weight in twin.named_parameters():
            weight.copy_(weight.half())
            if not torch.isfinite(weight).all():
                raise TrainingError("loss_not_finite", f"weights {name} are not finite in fp16: train again")
    return twin


def _make_parts(
    model: Recogniser,
    config: ModelConfig,
    precisions: Sequence[str],
    examples: Sequence[Inputs],
    truth: Sequence[int] | None,
    kept: Mapping[str, bytes] = MappingProxyType({}),
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Files of the parts, and what parity.json says of them."""
    picture = config.vision.size if config.vision else 0
    there = {name: kept[file] for name in model.modalities if (file := part_file(name, "fp32")) in kept}
    fp32 = export_parts(model, picture=picture, kept=there)
    vocabulary = int(model.encoders["text"].vocab_size) if config.text else 1  # type: ignore[arg-type]
    sizes = {name: section.size for name, section in config.features.items()}
    noise = random_items(
        _COMPARED, modalities=model.modalities, vocabulary=vocabulary, picture=picture, features=sizes
    )
    parity: dict[str, Any] = {"torch_vs_onnx": compare_with_torch(model, fp32, noise)}
    files = {part_file(name, "fp32"): data for name, data in fp32.items()} if "fp32" in precisions else {}
    if "int8" in precisions:
        attend = [part for part, backbone in backbones(model).items() if backbone.family != "resnet"]
        quantised = {
            name: _quantise(name, data, examples, name in attend)
            for name, data in fp32.items()
            if part_file(name, "int8") not in kept
        }
        int8 = {
            name: quantised[name].model if name in quantised else kept[part_file(name, "int8")]
            for name in fp32
        }
        files |= {part_file(name, "int8"): data for name, data in int8.items()}
        parity["quantised"] = {n: {"int8": q.quantised, "fp32": dict(q.left)} for n, q in quantised.items()}
        parity["int8_vs_fp32"] = compare_precisions(fp32, int8, examples, truth, task=config.tasks[0].name)
    return files, parity


def _quantise(name: str, model: bytes, examples: Sequence[Inputs], attends: bool = False) -> Quantised:
    """`attends`: a part that is a pretrained Transformer. Convolutions are its smallest share, and static scales
    would spoil what it computes for its attention: masks, and places turned into integers."""
    if attends or not convolves(model):
        return quantise_dynamic(model)
    items = [padded([item[name]]) for item in examples if name in item]
    if not items:
        raise TrainingError(
            "config_invalid", f"int8 needs examples of {name} for its scales: give some, or make fp32 only"
        )
    return quantise_static(model, [{INPUTS[name]: values, "mask": mask} for values, mask in items])


def _portable(config: ModelConfig) -> ModelConfig:
    """The config as a bundle has it: numbers for the people of its identities, since it says how many they were,
    not who; and no files that first weights came from, since the weights are there."""
    tasks = [
        replace(task, labels=tuple(map(str, range(len(task.labels))))) if task.kind == "identity" else task
        for task in config.tasks
    ]
    text = config.text and replace(config.text, vectors=None)
    speech = config.speech and replace(config.speech, weights=None)
    return replace(config, tasks=tuple(tasks), text=text, speech=speech)


def _task(name: str, config: ModelConfig, model: Recogniser) -> TaskInfo:
    task = next(task for task in config.tasks if task.name == name)
    assert task.kind != "identity"  # private, so never asked
    return TaskInfo(name=name, kind=task.kind, labels=task.labels, views=model.views_of(name))


def _parts_info(model: Recogniser, config: ModelConfig, facts: Facts, voice: Voice | None) -> Parts:
    parts: dict[str, Any] = {}
    for name, encoder in model.encoders.items():
        track = {"width": encoder.out_dim, "clock": encoder.rate}
        if name == "speech" and config.speech is not None:
            margin = config.speech.margin_seconds
            window = min(WINDOW_SECONDS, getattr(encoder, "stretch", math.inf))
            parts[name] = SpeechPart(
                window_seconds=window,
                margin_seconds=margin,
                voice=voice,
                **track,  # type: ignore[arg-type]
            )
        if name == "text" and config.text is not None:
            parts[name] = TextPart(languages=facts.languages, max_tokens=config.text.max_tokens, **track)  # type: ignore[arg-type]
        if name == "vision" and config.vision is not None:
            parts[name] = VisionPart(size=config.vision.size, **track)  # type: ignore[arg-type]
    features = {
        name: FeaturesPart(size=size, width=encoder.out_dim)  # type: ignore[arg-type]
        for name, encoder in model.encoders.items()
        if (size := features_of(encoder)) is not None
    }
    return Parts(**parts, features=features)


def _embedding_info(model: Recogniser, config: ModelConfig) -> EmbeddingInfo | None:
    scale = getattr(model.fusion, "scale", None)  # towers have one: their views lie in one space
    if scale is None:
        return None
    return EmbeddingInfo(
        width=config.dim,
        modalities=model.modalities,
        scale=float(scale.detach()),
        templates=config.fusion.templates,
    )


def weight_files(model: Recogniser, parts: Mapping[str, bytes] = MappingProxyType({})) -> dict[str, bytes]:
    """Files of weights in fp16; statistics stay in fp32, they may lie outside its range. What `parts` hold, ONNX by
    name, is left out."""
    weights = dict(model.named_parameters())
    held = stored_weights(parts, {name: weight.shape for name, weight in weights.items()})
    state = {
        name: (value.half() if name in weights else value).contiguous()
        for name, value in model.state_dict().items()
        if name not in held or not is_rounded(held[name], value)
    }
    files = {WEIGHTS: state}
    for part in backbones(model):
        prefix = f"{'fusion' if part == FUSION else f'encoders.{part}'}.backbone."
        own = {name: state.pop(name) for name in list(state) if name.startswith(prefix)}
        files |= {_backbone_file(part): own} if own else {}
    return {file: safetensors.torch.save(tensors) for file, tensors in files.items()}
