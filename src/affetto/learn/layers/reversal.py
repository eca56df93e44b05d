"""Gradient reversal: what passes forward unchanged and comes back with its sign turned."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return -ctx.strength * gradient, None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """x itself, whose gradient is multiplied by -strength (Ganin and Lempitsky 2015).

    What reads x learns its task; what made x unlearns whatever that task needs.
    """
    return _Reverse.apply(x, strength)


def reversal_strength(progress: float) -> float:
    """The schedule of Ganin and Lempitsky 2015: 2 / (1 + exp(-10 p)) - 1 for progress p of training, 0 to 1.

    It begins at 0, so that an adversary that knows nothing yet does not spoil what it reads, and ends near 1.
    """
    return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0
