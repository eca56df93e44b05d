"""What is looked at in an ONNX file before it is run: tensors kept elsewhere, and weights that are no numbers.

Read by its wire format, which takes milliseconds and spares the runtime the onnx package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from affetto.errors import BundleError

# The messages of onnx.proto that can hold a tensor: message -> field number -> message.
_ONNX_FIELDS: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
}
_DATA_TYPE, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 2, 9, 13, 14
_FLOAT = 1


def points_outside(model: bytes) -> bool:
    """Whether an ONNX model keeps any tensor in another file (external data).

    Raises BundleError `bundle_invalid` when the bytes are not an ONNX model.
    """
    return any(
        field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)
        for tensor in _tensors(model)
        for field, value in tensor
    )


def has_nan(model: bytes) -> bool:
    """Whether any float32 tensor of an ONNX model holds NaN. A single number may: graphs compare with it.

    Raises BundleError `bundle_invalid` when the bytes are not an ONNX model.
    """
    import numpy as np

    for tensor in _tensors(model):
        data = dict(tensor)
        raw = data.get(_RAW_DATA)
        if data.get(_DATA_TYPE) != _FLOAT or not isinstance(raw, memoryview) or len(raw) <= 4 or len(raw) % 4:
            continue
        # The smallest of an array is NaN where any is, and it takes no array of truth values to know.
        if np.isnan(np.frombuffer(raw, "<f4").min()):
            return True
    return False


def _tensors(model: bytes) -> Iterator[list[tuple[int, int | memoryview]]]:
    """The fields of every tensor of an ONNX model."""
    try:
        yield from _walk(memoryview(model), "Model", 0)
    except (IndexError, ValueError) as error:
        raise BundleError("bundle_invalid", "a part of the bundle is not an ONNX model") from error


def _walk(message: memoryview, kind: str, depth: int) -> Iterator[list[tuple[int, int | memoryview]]]:
    if depth > 64:
        raise ValueError("nested too deeply")
    fields = list(_fields(message))
    if kind == "Tensor":
        yield fields
        return
    for field, value in fields:
        child = _ONNX_FIELDS[kind].get(field)
        if child is not None and isinstance(value, memoryview):
            yield from _walk(value, child, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message: number, and a varint's value or a chunk's bytes."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > end:
            raise ValueError("a field runs past the end")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a varint is too long")
