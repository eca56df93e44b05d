"""Recurrent layers for export: an `nn.GRU` as the one ONNX operator that it is.

The exporter would otherwise unroll it, step by step, over the length of the example, and so fix that length.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def with_gru_operators(module: nn.Module) -> nn.Module:
    """A copy of a module in which every `nn.GRU` is a `GruOperator`; the module itself where it has none.

    The copy can be exported, but no longer run. Raises ValueError, see `GruOperator`.
    """
    found = [name for name, part in module.named_modules() if isinstance(part, nn.GRU)]
    if not found:
        return module
    twin = copy.deepcopy(module)
    for name in found:
        twin.set_submodule(name, GruOperator(twin.get_submodule(name)))  # type: ignore[arg-type]
    return twin


class GruOperator(nn.Module):
    """What stands for an `nn.GRU` while a graph is traced: ONNX's operator, with the same weights.

    Raises ValueError for a GRU other than of one layer, one direction, batch first and with biases.
    """

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        if gru.num_layers != 1 or gru.bidirectional or not gru.batch_first or not gru.bias:
            raise ValueError(f"{gru}: expected one layer, one direction, batch first and biases to export it")
        self.hidden = gru.hidden_size
        self.register_buffer("weight", _gates(gru.get_parameter("weight_ih_l0")))
        self.register_buffer("recurrence", _gates(gru.get_parameter("weight_hh_l0")))
        biases = [_gates(gru.get_parameter(name)) for name in ("bias_ih_l0", "bias_hh_l0")]
        self.register_buffer("bias", torch.cat(biases, dim=1))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """x: [B T D]. Returns [B T H], and None where `nn.GRU` has its last state."""
        batch, steps = x.shape[:2]
        out = torch.onnx.ops.symbolic(
            "GRU",
            (
                x.transpose(0, 1),
                self.get_buffer("weight"),
                self.get_buffer("recurrence"),
                self.get_buffer("bias"),
            ),
            # torch applies the reset gate after the matrix product, ONNX by default before it.
            attrs={"hidden_size": self.hidden, "linear_before_reset": 1},
            dtype=x.dtype,
            shape=(steps, 1, batch, self.hidden),
        )
        return out[:, 0].transpose(0, 1), None


def _gates(weight: Tensor) -> Tensor:
    """torch's gates (reset, update, new) along dimension 0 in ONNX's (update, reset, new): [1 3H ..]."""
    reset, update, new = weight.detach().chunk(3)
    return torch.cat([update, reset, new])[None]
