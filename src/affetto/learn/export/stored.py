"""The weights that ONNX parts hold, read back under the names that they have in the model.

The exporter turns weights and folds them together, and quantising rounds them. What can be told apart again need
not be in a bundle twice: all that int8 with scales at run time holds. Parts with static scales have their
normalisations folded in, and what they hold is not what training starts from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from affetto.bundle import FUSION

_STEPS = 63  # of the coarsest grid, seven bits, from zero to the largest weight of an output


def name_weights(model: onnx.ModelProto, part: nn.Module) -> None:
    """Give matrices [in out] that the exporter made of parameters [out ..] the names of these, in place."""
    known = {
        _digest(weight.detach().flatten(1).T.numpy()): name
        for name, weight in part.named_parameters()
        if weight.ndim > 1
    }
    taken = {tensor.name for tensor in model.graph.initializer}
    names = {}
    for tensor in model.graph.initializer:
        name = known.get(_digest(numpy_helper.to_array(tensor))) if len(tensor.dims) == 2 else None
        if name is not None and name not in taken:
            taken.add(name)
            names[tensor.name] = tensor.name = name
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def stored_weights(parts: Mapping[str, bytes], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """What parts hold under the names and in the shapes of a model's weights, in fp32.

    parts: modality or "fusion" to ONNX bytes, int8 or fp32.
    """
    held = {}
    for part, data in parts.items():
        before, now = ("model.", "") if part == FUSION else ("encoder.", f"encoders.{part}.")
        for stored, values in _tensors(onnx.load_from_string(data)):
            name = now + stored.removeprefix(before)
            if name in shapes and shapes[name].numel() == values.size:
                held[name] = torch.from_numpy(np.array(values, np.float32)).reshape(shapes[name])
    return held


def is_rounded(stored: Tensor, weight: Tensor) -> bool:
    """Whether a stored weight [out ..] is that of the model but for rounding, to seven bits for each output."""
    rows = weight.reshape(len(weight) if weight.ndim else 1, -1)
    step = rows.abs().amax(dim=1, keepdim=True) / _STEPS
    return bool(((stored.reshape_as(rows) - rows).abs() <= step).all())


def _tensors(model: onnx.ModelProto) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """The stored tensors of a part; what is in eight bits as floats, matrices turned back to [out in]."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, values in stored.items():
        base, _, form = name.rpartition(".") if name.endswith(".int8") else name.rpartition("_")
        scale = stored.get(f"{base}_scale")
        if form == "int8":
            yield base, values * stored[f"{base}.scale"]
        elif form == "quantized" and scale is not None and scale.shape == values.shape[1:]:
            yield base, ((values.astype(np.float32) - stored[f"{base}_zero_point"]) * scale).T
        else:
            yield name, values


def _digest(values: NDArray[np.generic]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes() + str(values.shape).encode()).digest()
