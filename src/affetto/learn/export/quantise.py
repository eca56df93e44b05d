"""Parts in int8: what is quantised, what is not, and never in silence.

Parts that convolve (speech, vision) get static scales, per channel for weights, from calibration data: an
item's answer then does not depend on its batch mates. Parts made of matrix products alone (text, fusion), and
pretrained Transformers, get int8 weights per channel, and scales of activations at run time. Embedding tables get
a scale per row.

What stands before the first trained operator stays in fp32: eight bits cannot hold a power spectrum.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from affetto.errors import TrainingError
from affetto.learn.export.onnx import tidy

#: Operators that multiply by trained weights, held by their second input.
WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm", "GRU", "LSTM", "RNN")
_RECURRENT = ("GRU", "LSTM", "RNN")
#: What stands between convolutions is quantised with them, or every convolution would pay two conversions.
_STATIC = ("Conv", "MatMul", "Gemm", "Relu", "Mul", "Add")
#: What may stand between a stored tensor and the operator that multiplies by it.
_FORM = ("DequantizeLinear", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Cast")
#: Two weights that u8 multiplies may add up to 128 in 16 bits, 32,767; half of one is left for rounding.
_LARGEST_PAIR = 127.5
_SMALLEST_TABLE = 4096  # numbers; smaller ones are no embedding, and save nothing
_FRONT_END = "front end, before the first trained operator"
_CONVOLUTION = "convolution: scales found at run time would cost it more than eight bits save"


@dataclass(frozen=True)
class Quantised:
    """An int8 part. `left` maps every weighted operator that stayed in fp32 to the reason."""

    model: bytes
    quantised: int
    left: Mapping[str, str]


def quantise_static(model: bytes, calibration: Iterable[Mapping[str, np.ndarray]]) -> Quantised:
    """Static int8 of one part; `calibration` are feeds of its inputs, typical of what it will meet.

    Raises TrainingError `parity_failed` when a weighted operator stayed in fp32 without a stated reason.
    """
    prepared = _quantise_tables(onnx.load_from_string(model))
    front = front_end(prepared)

    def run(source: Path, target: Path) -> None:
        quantize_static(
            source,
            target,
            _Feeds(iter(calibration)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_STATIC),
            nodes_to_exclude=sorted(front),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # Seven bits: eight overflow the 16-bit sums of CPUs without VNNI.
            reduce_range=True,
            extra_options={"MatMulConstBOnly": True},
        )

    return _checked(_through_files(prepared, run), dict.fromkeys(front, _FRONT_END))


def quantise_dynamic(model: bytes) -> Quantised:
    """Int8 weights of matrix products and embedding tables; activations are scaled at run time.

    Each output's weights are as fine as no CPU overflows. Convolutions stay in fp32, with the reason.
    Raises TrainingError `parity_failed` when a weighted operator stayed in fp32 without a stated reason.
    """

    def run(source: Path, target: Path) -> None:
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=True,
        )

    whole = onnx.load_from_string(model)
    left = {node.name: _CONVOLUTION for node in whole.graph.node if node.op_type == "Conv"}
    _turn_weights(whole)
    matrices = _matrices(whole)
    quantised = _through_files(_quantise_tables(whole), run)
    _round_safely(quantised, matrices)
    return _checked(quantised, left)


def convolves(model: bytes) -> bool:
    """Whether a part has trained convolutions, and so wants static scales."""
    whole = onnx.load_from_string(model)
    front = front_end(whole)
    return any(node.op_type == "Conv" and node.name not in front for node in whole.graph.node)


class _Graph:
    """A model's nodes with what made their inputs."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.makers = {output: node for node in self.nodes for output in node.output}

    def ancestors(self, node: onnx.NodeProto) -> set[str]:
        """Names of all nodes that a node rests on."""
        found: set[str] = set()
        waiting = [self.makers[name] for name in node.input if name in self.makers]
        while waiting:
            maker = waiting.pop()
            if maker.name not in found:
                found.add(maker.name)
                waiting += [self.makers[name] for name in maker.input if name in self.makers]
        return found

    def weight(self, node: onnx.NodeProto) -> onnx.TensorProto | None:
        """The stored tensor behind a node's second input, seen through what only changes its form."""
        name = node.input[1]
        while name not in self.tensors:
            maker = self.makers.get(name)
            if maker is None or maker.op_type not in _FORM:
                return None
            name = maker.input[0]
        return self.tensors[name]


def front_end(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that the first trained operator rests on.

    Fixed weights (a DFT, a mel matrix) lead up to a logarithm: what comes before that is not trained.
    """
    graph = _Graph(model)
    logarithm = next((node for node in graph.nodes if node.op_type == "Log"), None)
    fixed = graph.ancestors(logarithm) if logarithm is not None else set()
    weighted = (n for n in graph.nodes if n.op_type in WEIGHTED and graph.weight(n) is not None)
    trained = next((node for node in weighted if node.name not in fixed), None)
    return graph.ancestors(trained) if trained is not None else set()


def weighted_operators(model: onnx.ModelProto) -> dict[str, bool]:
    """Every operator with stored weights: its name, and whether these are in eight bits."""
    graph, found = _Graph(model), {}
    for node in graph.nodes:
        if node.op_type in (*WEIGHTED, "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul"):
            weight = graph.weight(node)
            if weight is not None:
                found[node.name] = weight.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    return found


def _checked(model: onnx.ModelProto, reasons: Mapping[str, str]) -> Quantised:
    operators = weighted_operators(model)
    kinds = {node.name: node.op_type for node in model.graph.node}
    left = {}
    for name in (name for name, done in operators.items() if not done):
        recurrent = kinds[name] in _RECURRENT
        reason = f"{kinds[name]} has no int8 form in ONNX Runtime" if recurrent else reasons.get(name)
        if reason is None:
            raise TrainingError(
                "parity_failed",
                f"{kinds[name]} {name!r} stayed in fp32 without a reason: expected int8 weights throughout",
            )
        left[name] = reason
    return Quantised(tidy(model), sum(operators.values()), left)


def _turn_weights(model: onnx.ModelProto) -> None:
    """Gemm by stored weights [N K] as Gemm by [K N], in place: the quantiser renames what it turns itself."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    for node in model.graph.node:
        turned = [a for a in node.attribute if node.op_type == "Gemm" and a.name == "transB" and a.i]
        if not turned or node.input[1] not in stored:
            continue
        tensor = stored[node.input[1]]
        if uses[tensor.name] > 1:
            node.input[1] = f"{tensor.name}.{node.name}"
            model.graph.initializer.append(tensor)
            model.graph.initializer[-1].name = node.input[1]
            tensor = model.graph.initializer[-1]
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).T.copy(), tensor.name))
        turned[0].i = 0


def _matrices(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """What matrix products multiply by, [.. K N] by name."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    products = (node for node in model.graph.node if node.op_type in ("MatMul", "Gemm"))
    names = {node.input[1] for node in products} & stored.keys()
    return {name: numpy_helper.to_array(stored[name]) for name in names}


def _round_safely(model: onnx.ModelProto, matrices: Mapping[str, NDArray[np.float32]]) -> None:
    """Round stored matrices anew, in place, so that no sum overflows on CPUs without VNNI.

    These add the products of two neighbouring inputs in 16 bits: u8 times what two weights of one sign add up to.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, weights in matrices.items():
        scale = safe_scale(weights)
        rounded = np.round(weights / scale).astype(np.int8)
        for values, tensor in ((rounded, stored[f"{name}_quantized"]), (scale, stored[f"{name}_scale"])):
            tensor.CopyFrom(numpy_helper.from_array(values.reshape(tensor.dims), tensor.name))


def safe_scale(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The finest scale [N] of int8 for each output of a matrix [.. K N] whose products no CPU overflows.

    It is up to twice as coarse as eight bits alone would have it, mostly much less: only where two neighbours that
    are both large have one sign.
    """
    odd = weights.shape[-2] % 2
    padded = np.pad(weights, [(0, 0)] * (weights.ndim - 2) + [(0, odd), (0, 0)])
    pairs = padded.reshape(*weights.shape[:-2], -1, 2, weights.shape[-1])
    sums = np.maximum(np.maximum(pairs, 0).sum(axis=-2), np.maximum(-pairs, 0).sum(axis=-2))
    outputs = tuple(range(weights.ndim - 1))
    scale = np.maximum(sums.max(axis=outputs) / _LARGEST_PAIR, np.abs(weights).max(axis=outputs) / 127)
    return np.where(scale > 0, scale, 1.0).astype(np.float32)


def _quantise_tables(model: onnx.ModelProto) -> onnx.ModelProto:
    """Embedding tables [V D] as int8 with a scale per row: Gather both, multiply."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        table = tensors.get(node.input[0]) if node.op_type == "Gather" else None
        is_float = table is not None and table.data_type == onnx.TensorProto.FLOAT
        if table is None or not is_float or len(table.dims) != 2 or np.prod(table.dims) < _SMALLEST_TABLE:
            nodes.append(node)
            continue
        values = numpy_helper.to_array(table)
        scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-12) / 127
        rows, scales, taken = f"{table.name}.int8", f"{table.name}.scale", node.output[0]
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(np.round(values / scale).astype(np.int8), rows),
                numpy_helper.from_array(scale.astype(np.float32), scales),
            ]
        )
        nodes += [
            helper.make_node("Gather", [rows, node.input[1]], [f"{taken}.rows"], axis=0),
            helper.make_node("Cast", [f"{taken}.rows"], [f"{taken}.cast"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Gather", [scales, node.input[1]], [f"{taken}.scales"], axis=0),
            helper.make_node("Mul", [f"{taken}.cast", f"{taken}.scales"], [taken]),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


class _Feeds(CalibrationDataReader):
    """Calibration data in the form that ONNX Runtime asks for."""

    def __init__(self, feeds: Iterator[Mapping[str, np.ndarray]]) -> None:
        self._feeds = feeds

    def get_next(self) -> Any:
        return next(self._feeds, None)


def _through_files(model: onnx.ModelProto, run: Callable[[Path, Path], None]) -> onnx.ModelProto:
    """ONNX Runtime's quantiser reads and writes files, and speaks where nobody can act on it."""
    logger = logging.getLogger()
    level = logger.level
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(model.SerializeToString())
        logger.setLevel(logging.ERROR)
        try:
            run(source, target)
        finally:
            logger.setLevel(level)
        return onnx.load(target)
