"""A trained Recogniser as ONNX parts: one per modality (raw medium in, Track out) and the fusion.

The model never learns of ONNX: small wrappers here turn its Tracks into plain tensors with names, and batch
and time are left free. An absent modality enters the fusion as a single step whose mask is False.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import onnx
import torch
from onnxscript.optimizer import fold_constants
from torch import Tensor, nn

from affetto.bundle import FUSION
from affetto.errors import ConfigError
from affetto.learn.export.recurrent import with_gru_operators
from affetto.learn.export.stored import name_weights
from affetto.learn.models.recogniser import Output, Recogniser
from affetto.records import Track

OPSET = 20
#: Bytes that fit into a protobuf message, and so into a part.
LARGEST = 2**31
#: What the first input of a part that reads a medium is called.
INPUTS: Mapping[str, str] = {"speech": "waveform", "text": "ids", "vision": "pixels"}
#: The same of a part that takes precomputed features.
FEATURES = "features"


class EncoderPart(nn.Module):
    """One encoder with tensors in and out."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """values [B N], [B T], [B T 3 S S] or features [B T F], and the mask; returns values [B T D] and mask [B T]."""
        track = self.encoder(Track(values, mask))
        return track.values, track.mask


class FusionPart(nn.Module):
    """Fusion, heads and votes with tensors in and out. `inputs` are the names of what goes in."""

    def __init__(self, model: Recogniser) -> None:
        super().__init__()
        self.modalities = model.modalities
        self.timed: tuple[str, ...] = tuple(getattr(model.fusion, "timed", ()))
        self.inputs = [f"{name}_{what}" for name in self.modalities for what in ("values", "mask")]
        self.inputs += [f"{name}_times" for name in self.timed]
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Per modality values [B T D] and mask [B T], then times [B T] of those that are timed.

        Times are seconds, NaN where unknown. Returns the values of `named`.
        """
        return tuple(named(self.model.fuse(self.tracks(inputs))).values())

    def tracks(self, inputs: Sequence[Tensor]) -> dict[str, Track]:
        """The flat inputs as Tracks."""
        by_name = dict(zip(self.inputs, inputs, strict=True))
        return {
            name: Track(by_name[f"{name}_values"], by_name[f"{name}_mask"], by_name.get(f"{name}_times"))
            for name in self.modalities
        }


def named(output: Output) -> dict[str, Tensor]:
    """An output flat, under the names of the fusion part: `task.view`, `task.weights`, `embedding.view`."""
    flat = {f"{task}.{view}": x for task, views in output.logits.items() for view, x in views.items()}
    flat.update({f"{task}.weights": x for task, x in output.weights.items()})
    flat.update({f"embedding.{view}": x for view, x in output.embeddings.items()})
    return flat


def export_parts(
    model: Recogniser, *, picture: int | None, kept: Mapping[str, bytes] = MappingProxyType({})
) -> dict[str, bytes]:
    """The fp32 parts of a model in evaluation mode, on the CPU: modality or "fusion" to ONNX bytes.

    `picture` is the side in pixels of what the vision part takes, when the model has one. `kept` are parts of
    modalities that are there already. The graphs are checked against the ONNX specification;
    `parity.compare_with_torch` checks their answers.
    """
    parts = {}
    for name, encoder in model.encoders.items():
        if name in kept:
            parts[name] = kept[name]
            continue
        outputs = ["values", "mask_out"]
        part = EncoderPart(with_gru_operators(encoder))
        size = features_of(encoder)
        example = _example(name, picture) if size is None else _masked(torch.randn(2, 5, size))
        parts[name] = _export(part, example, [FEATURES if size else INPUTS[name], "mask"], outputs)
    parts[FUSION] = export_fusion(model)
    return parts


def features_of(encoder: nn.Module) -> int | None:
    """How many values per step an encoder of precomputed features takes; None of one that reads a medium."""
    return getattr(encoder, "in_dim", None)


def export_fusion(model: Recogniser) -> bytes:
    """The fusion part alone: `FusionPart` as ONNX bytes."""
    fusion = FusionPart(model).eval()
    example, times = [], {}
    for place, (name, encoder) in enumerate(model.encoders.items()):
        # Unlike lengths, or the exporter would take them for one and the same.
        example += _masked(torch.randn(2, 3 + place, int(encoder.out_dim)))  # type: ignore[arg-type]
        times[name] = torch.rand(2, 3 + place)
    example += [times[name] for name in fusion.timed]
    with torch.inference_mode():
        outputs = list(named(model.fuse(fusion.tracks(example))))
    return _export(fusion, example, fusion.inputs, outputs)


def _example(modality: str, picture: int | None) -> list[Tensor]:
    if modality == "speech":
        return _masked(torch.randn(2, 8000))
    if modality == "text":
        return _masked(torch.zeros(2, 5, dtype=torch.int64))
    return _masked(torch.rand(2, 3, 3, picture or 48, picture or 48))


def _masked(values: Tensor) -> list[Tensor]:
    """Values and a mask in which the second row is shorter than the first."""
    mask = torch.ones(values.shape[:2], dtype=torch.bool)
    mask[1, values.shape[1] // 2 :] = False
    return [values, mask]


def _export(part: nn.Module, example: Sequence[Tensor], inputs: list[str], outputs: list[str]) -> bytes:
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    # `forward(*inputs)` counts as one argument, a tuple.
    shapes = (tuple(free for _ in example),) if isinstance(part, FusionPart) else tuple(free for _ in example)
    with _quiet(), torch.no_grad():
        # What the exporter cannot prove of lengths (that halving twice is quartering) becomes a check at run
        # time, which ONNX leaves out; otherwise it would fix the length of the example.
        program = torch.export.export(
            part.eval(),
            tuple(example),
            dynamic_shapes=shapes,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            external_data=False,
            verbose=False,
        )
        assert exported is not None  # with dynamo=True there always is one
        # Weights in another form than the model keeps them in, too: what multiplies by them is then quantised.
        fold_constants(exported.model, input_size_limit=LARGEST, output_size_limit=LARGEST)
    model = exported.model_proto
    name_weights(model, part)
    return tidy(model)


def tidy(model: onnx.ModelProto) -> bytes:
    """Check a model and serialise it without what only its maker reads (source lines, inferred shapes).

    Raises ConfigError `config_invalid` when its weights are more than a part can hold.
    """
    size = sum(len(weights.raw_data) for weights in model.graph.initializer)
    if size >= LARGEST:
        raise ConfigError(
            "config_invalid",
            f"a part of the model has {size / 1e9:.1f} GB of weights, and an ONNX file holds 2 GB: it can be "
            "trained, and its checkpoints are there, but a bundle needs a smaller backbone",
        )
    model.producer_name, model.producer_version, model.doc_string = "affetto", "", ""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on torchvision and torch's deprecations: nobody can act on them."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
