"""What tasks share between a view and their heads: a vector [B D] in, a vector [B D] for each task out.

A form is an `nn.Module` built as `Name(tasks, dim, ...)`; its constructor names the settings it needs, which
are fields of `SharingConfig`. It is called with x [.. D], a view's vector or the steps of its Track, and gives
task to [.. D].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn


class Layer(nn.Module):
    """One residual layer of a trunk: x + dropout(GELU(W norm(x)))."""

    def __init__(self, dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[.. D] -> [.. D]."""
        return x + self.dropout(nn.functional.gelu(self.linear(self.norm(x))))


class Hard(nn.Module):
    """One trunk for all tasks (Caruana 1997): h_t(x) = f(x)."""

    def __init__(self, tasks: Sequence[str], dim: int, *, layers: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.trunk = _trunk(dim, layers, dropout)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x: [.. D]."""
        return dict.fromkeys(self.tasks, self.trunk(x))


class CrossStitch(nn.Module):
    """A trunk for each task; after every layer each takes a little of the others.

    h_t = sum over tasks s of a_ts * f_s(h_s), a_ts a number for each feature (Misra et al. 2016,
    "Cross-stitch Networks for Multi-task Learning"). a begins as identity, where the paper gives the others a
    tenth: at first every task is alone, and training mixes only what helps.
    """

    def __init__(self, tasks: Sequence[str], dim: int, *, layers: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.trunks = nn.ModuleDict({task: _trunk(dim, layers, dropout) for task in tasks})
        stitch = torch.eye(len(tasks))[None, :, :, None].repeat(layers, 1, 1, dim)
        self.stitches = nn.Parameter(stitch)  # [L K K D]: layer, task that takes, task that gives

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x: [.. D]."""
        own = [x] * len(self.tasks)
        for layer in range(len(self.stitches)):
            trunks = (self.trunks.get_submodule(f"{task}.{layer}") for task in self.tasks)
            made = torch.stack([trunk(h) for trunk, h in zip(trunks, own, strict=True)], dim=-2)
            own = [(self.stitches[layer, i] * made).sum(dim=-2) for i in range(len(own))]
        return dict(zip(self.tasks, own, strict=True))


class Tied(nn.Module):
    """A trunk for each task, whose weights are drawn to each other (Duong et al. 2015).

    h_t(x) = f_t(x), and the loss grows by tie * the sum over pairs of tasks of |W_s - W_t|^2: 0 leaves the
    tasks alone, a large `tie` makes the trunks one. They begin equal.
    """

    def __init__(
        self, tasks: Sequence[str], dim: int, *, layers: int = 1, dropout: float = 0.1, tie: float = 0.01
    ) -> None:
        super().__init__()
        self.tie = tie
        self.trunks = nn.ModuleDict({task: _trunk(dim, layers, dropout) for task in tasks})
        first, *others = self.trunks.values()
        for trunk in others:
            trunk.load_state_dict(first.state_dict())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x: [.. D]."""
        return {task: trunk(x) for task, trunk in self.trunks.items()}

    def penalty(self) -> Tensor:
        """What the distance of the trunks costs, a scalar."""
        weights = [torch.cat([p.flatten() for p in trunk.parameters()]) for trunk in self.trunks.values()]
        gaps = [(one - other).square().sum() for one, other in combinations(weights, 2)]
        return self.tie * sum(gaps, weights[0].new_zeros(()))


class Experts(nn.Module):
    """A few trunks for everyone, and for each task a gate that depends on the input (MMoE, Ma et al. 2018).

    h_t(x) = sum over experts e of softmax(G_t x)_e * f_e(x).
    """

    def __init__(
        self, tasks: Sequence[str], dim: int, *, layers: int = 1, dropout: float = 0.1, experts: int = 4
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(_trunk(dim, layers, dropout) for _ in range(experts))
        self.gates = nn.ModuleDict({task: nn.Linear(dim, experts) for task in tasks})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x: [.. D]."""
        known = torch.stack([expert(x) for expert in self.experts], dim=-2)
        return {task: (share[..., None] * known).sum(dim=-2) for task, share in self.shares(x).items()}

    def shares(self, x: Tensor) -> dict[str, Tensor]:
        """How far each task listens to each expert: task to [.. E], which sums to 1."""
        return {task: torch.softmax(gate(x), dim=-1) for task, gate in self.gates.items()}


def _trunk(dim: int, layers: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(*(Layer(dim, dropout=dropout) for _ in range(layers)))
