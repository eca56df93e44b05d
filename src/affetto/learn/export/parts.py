"""ONNX parts run on prepared inputs, alone or in batches: what parity and calibration are measured with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from affetto.bundle import FUSION
from affetto.predictor import open_session
from affetto.records import MODALITIES, Track

#: One item: speech [N] float32, text [T] int64, vision [T 3 S S] float32, or features [T F] float32 of
#: these; any of them.
Inputs = Mapping[str, np.ndarray]


class Parts:
    """Sessions for all parts of one precision, from their ONNX bytes."""

    def __init__(self, models: Mapping[str, bytes]) -> None:
        self._sessions = {name: open_session(model, name, 1) for name, model in models.items()}
        fusion = self._sessions[FUSION]
        self.modalities = tuple(name for name in MODALITIES if name in models)
        self._inputs = {name: self._sessions[name].get_inputs()[0].name for name in self.modalities}
        self._outputs = [output.name for output in fusion.get_outputs()]
        inputs = {i.name: i.shape for i in fusion.get_inputs()}
        self._widths = {name: inputs[f"{name}_values"][-1] for name in self.modalities}
        self._timed = tuple(name for name in self.modalities if f"{name}_times" in inputs)

    def encode(self, modality: str, values: np.ndarray, mask: np.ndarray) -> Track:
        """A raw Track to an encoded one."""
        return Track(
            *self._sessions[modality].run(
                ["values", "mask_out"], {self._inputs[modality]: values, "mask": mask}
            )
        )

    def encode_items(self, items: Iterable[Inputs]) -> list[dict[str, Track]]:
        """Each item alone, every modality it has: for `fuse`, as often as there are subsets to ask."""
        return [
            {m: self.encode(m, *padded([item[m]])) for m in self.modalities if m in item} for item in items
        ]

    def fuse(self, tracks: Mapping[str, Track]) -> dict[str, np.ndarray]:
        """Encoded Tracks to the fusion's outputs by name; a modality without a Track is absent.

        Times [B T] in seconds are handed on where the fusion reads them; without any they are unknown, NaN.
        """
        rows = len(next(iter(tracks.values())).mask)
        feeds = {}
        for name in self.modalities:
            absent = Track(np.zeros((rows, 1, self._widths[name]), np.float32), np.zeros((rows, 1), bool))
            track = tracks.get(name, absent)
            feeds[f"{name}_values"], feeds[f"{name}_mask"] = track.values, track.mask
            if name in self._timed:
                unknown = np.full(track.mask.shape, np.nan, np.float32)
                feeds[f"{name}_times"] = unknown if track.times is None else track.times
        return dict(zip(self._outputs, self._sessions[FUSION].run(self._outputs, feeds), strict=True))


def padded(items: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Items [T ...] of unlike lengths as values [B T ...] and mask [B T]."""
    longest = max(len(item) for item in items)
    values = np.zeros((len(items), longest, *items[0].shape[1:]), items[0].dtype)
    mask = np.zeros((len(items), longest), bool)
    for row, item in enumerate(items):
        values[row, : len(item)], mask[row, : len(item)] = item, True
    return values, mask


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Every subset but the empty one, smaller ones first."""
    picks = range(1, 2 ** len(modalities))
    found = [tuple(m for bit, m in enumerate(modalities) if pick >> bit & 1) for pick in picks]
    return sorted(found, key=len)
