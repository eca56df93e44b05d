"""Corrections of low rank to a model's own weights (Hu et al. 2022, "LoRA"): W + B A, where W stands still.

Beside `lora`, which adapts backbones of others by way of PEFT, this reaches every layer of ours: convolutions and
embeddings too, whose weights are read as matrices [out, everything else]. B begins at zero: nothing changes.
Biases and norms learn as they are.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn
from torch.nn.utils import parametrize

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding)


class Correction(nn.Module):
    """A weight [out ..] plus a product of rank `rank`; for `torch.nn.utils.parametrize`."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.a = nn.Parameter(nn.init.kaiming_uniform_(matrix.new_empty(rank, matrix.shape[1]), 5**0.5))
        self.b = nn.Parameter(matrix.new_zeros(matrix.shape[0], rank))

    def forward(self, weight: Tensor) -> Tensor:
        """[out ..] -> [out ..]."""
        return weight + (self.b @ self.a).view_as(weight)


def add_corrections(model: nn.Module, rank: int, still: Collection[nn.Module] = ()) -> None:
    """Let the layers of a model learn corrections of at most this rank, and no more; those in `still` learn none."""
    for module in list(model.modules()):
        if isinstance(module, _LAYERS) and module not in still:
            matrix = module.weight.flatten(1)
            correction = Correction(module.weight, min(rank, *matrix.shape))
            parametrize.register_parametrization(module, "weight", correction)
            module.parametrizations.weight.fixed = ("original",)  # type: ignore[union-attr]


def merge_corrections(model: nn.Module) -> None:
    """Write the corrections into the weights, in place, and leave a model as it was before them."""
    for module in list(model.modules()):
        if isinstance(module, _LAYERS) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
