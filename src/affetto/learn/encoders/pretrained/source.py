"""Where a pretrained backbone comes from: a folder or a hub id in, a model and its form out.

The *form* is plain JSON: the architecture, what its processor does to the medium, and which exact files the
weights came from. It goes into the run folder and the bundle, so that trained weights find their model again
without the hub.

Nothing of a repository is ever executed, and weights are read from safetensors alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from affetto.errors import ConfigError

#: What `config.json` of a repository calls the families that are known to work, by modality.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "speech": ("wav2vec2", "hubert", "wavlm", "whisper"),
    "text": (
        "bert", "roberta", "xlm-roberta", "deberta", "deberta-v2", "gpt2", "llama", "qwen2", "qwen3",
    ),
    "vision": ("resnet", "vit", "clip", "clip_vision_model", "dinov2", "videomae"),
}  # fmt: skip

#: Families that read from left to right: only the last step has seen all.
DECODERS = ("gpt2", "llama", "qwen2", "qwen3")

#: Attention written out: the exporter takes it, and for a sentence it is as fast as any.
_ATTENTION = {"attn_implementation": "eager"}

#: What of a processor's settings the encoders act on.
_PROCESSOR = ("do_normalize", "sampling_rate", "image_mean", "image_std")


def open_backbone(path: str, revision: str | None, modality: str) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a folder or hub id with its weights, and its form.

    Files in the cache are taken before the network is asked. Raises ConfigError `backbone_unavailable` when
    the files cannot be had, `config_invalid` for a family that does not encode this modality.
    """
    from transformers import AutoConfig

    config = _had(path, AutoConfig.from_pretrained, path, revision=revision, trust_remote_code=False)
    _check_family(path, config.model_type, modality)
    revision = getattr(config, "_commit_hash", None) or revision
    model = _had(
        path,
        _class(config.model_type).from_pretrained,
        path,
        revision=revision,
        use_safetensors=True,
        **_ATTENTION,
    )
    model = _encoder_of(model.float())
    form = {
        "path": path,
        "revision": revision or _digest(Path(path)),
        "config": json.loads(model.config.to_json_string(use_diff=False)),  # type: ignore[operator, union-attr]
        "processor": _processor(path, revision, modality),
    }
    return model, form


def rebuild_backbone(form: Mapping[str, Any]) -> nn.Module:
    """The model of a form with fresh weights: trained ones are to follow.

    Raises ConfigError `config_invalid` when the form describes no model.
    """
    from transformers import AutoConfig

    try:
        settings = dict(form["config"])
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        return _encoder_of(_class(config.model_type)._from_config(config, **_ATTENTION))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError("config_invalid", f"the form of a backbone describes no model: {error}") from error


def open_tokenizer(path: str, revision: str | None) -> bytes:
    """The tokenizer of a text backbone as the bytes of a `tokenizer.json`.

    Raises ConfigError `backbone_unavailable`.
    """
    from transformers import AutoTokenizer

    tokenizer = _had(path, AutoTokenizer.from_pretrained, path, revision=revision, trust_remote_code=False)
    return tokenizer.backend_tokenizer.to_str().encode()


def _class(family: str) -> Any:
    import transformers

    # A CLIP repository holds two towers; only one of them looks at pictures.
    if family in ("clip", "clip_vision_model"):
        return transformers.CLIPVisionModel
    return transformers.MODEL_MAPPING[type(transformers.AutoConfig.for_model(family))]


def _encoder_of(model: Any) -> nn.Module:
    """The part that encodes: without a decoder, and without a pooler that nobody reads."""
    if model.config.model_type == "whisper":
        model = model.get_encoder()
    if hasattr(model.config, "layerdrop"):
        # A layer that is skipped by chance cannot be told from one whose adapter does nothing.
        model.config.layerdrop = 0.0
    pooler = getattr(model, "pooler", None)
    if pooler is not None and any(True for _ in pooler.parameters()):
        model.pooler = None
    return model


def _check_family(path: str, family: str, modality: str) -> None:
    if family not in FAMILIES[modality]:
        known = ", ".join(FAMILIES[modality])
        raise ConfigError(
            "config_invalid", f"{path} is a {family}: expected one of {known} to encode {modality}"
        )


def _processor(path: str, revision: str | None, modality: str) -> dict[str, Any]:
    """What the processor that belongs to the weights does to a medium; {} for text."""
    if modality == "text":
        return {}
    from transformers import AutoFeatureExtractor, AutoImageProcessor

    kind = AutoFeatureExtractor if modality == "speech" else AutoImageProcessor
    settings = _had(path, kind.from_pretrained, path, revision=revision, trust_remote_code=False).to_dict()
    return {name: settings[name] for name in _PROCESSOR if settings.get(name) is not None}


def _had(path: str, load: Callable[..., Any], *args: Any, **settings: Any) -> Any:
    """What `load` returns, from local files when these suffice, else with the network."""
    with _quiet():
        try:
            return load(*args, local_files_only=True, **settings)
        except (OSError, ValueError):
            try:
                if Path(path).exists():
                    raise
                return load(*args, **settings)
            except (OSError, ValueError, ImportError) as error:
                reason = " ".join(str(error).split())[:160]
                raise ConfigError(
                    "backbone_unavailable",
                    f"backbone {path!r} cannot be opened ({reason}): give a folder with config.json, "
                    "model.safetensors and its tokenizer or processor files, or a hub id and a network",
                ) from error


def _digest(folder: Path) -> str:
    """sha256 over the weights of a folder: what pins files that no hub has given a revision."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars and remarks on weights that are left out on purpose."""
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.CRITICAL)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()
