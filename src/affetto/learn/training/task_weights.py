"""How the losses of several tasks become one: lambda_t as given, learned, or balanced by gradient norm.

Each is an `nn.Module` built as `Name(tasks)` and called with the tasks' losses and the tensors that all tasks
share; it gives the loss of the step and says in `shares` how far it listens to each task now. A task of which
a batch carries no label costs exactly zero: it moves no weight. An adversary keeps the weight it was given:
its gradient's size is set by the schedule of the reversal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from affetto.learn import ranks
from affetto.learn.config import TaskConfig
from affetto.learn.losses import gradient_balance


class FixedWeights(nn.Module):
    """The sum of the losses, each times the weight that the task was given."""

    def __init__(self, tasks: Sequence[TaskConfig]) -> None:
        super().__init__()
        self.given = {task.name: task.weight for task in tasks}

    def forward(self, losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> Tensor:
        """losses: task to a scalar. Returns a scalar."""
        return torch.stack([self.given[name] * loss for name, loss in losses.items()]).sum()

    def shares(self) -> dict[str, float]:
        """Task to its weight."""
        return dict(self.given)


class UncertaintyWeights(nn.Module):
    """Each task's weight is learned as its noise: sum of exp(-s_t) L_t + s_t / 2 with s_t learned from 0 on.

    Kendall et al. 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses"; s_t is the logarithm of the
    task's variance. For a loss that stands still the weight comes to 1 / (2 L_t). Given weights multiply.
    """

    def __init__(self, tasks: Sequence[TaskConfig]) -> None:
        super().__init__()
        self.given = {task.name: task.weight for task in tasks}
        self.log_variances = nn.ParameterDict(
            {task.name: nn.Parameter(torch.zeros(())) for task in tasks if not task.adversarial}
        )

    def forward(self, losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> Tensor:
        """losses: task to a scalar. Returns a scalar."""
        total = []
        for name, loss in losses.items():
            if name in self.log_variances:
                s = self.log_variances[name]
                # A task without a label in the batch says nothing about its noise.
                loss = torch.exp(-s) * loss + 0.5 * s * (loss.detach() != 0.0)
            total.append(self.given[name] * loss)
        return torch.stack(total).sum()

    def shares(self) -> dict[str, float]:
        """Task to its weight."""
        learned = {name: float(torch.exp(-s.detach())) for name, s in self.log_variances.items()}
        return {name: given * learned.get(name, 1.0) for name, given in self.given.items()}


class GradientNormWeights(nn.Module):
    """Weights under which tasks pull alike on what they share, those that learn slowly harder.

    Chen et al. 2018, "GradNorm" (see `losses.gradient_balance`), with two things made cheaper. The gradients
    are those at the views' vectors, the last thing that all tasks share, not at a layer's weights: no second
    pass through the encoders. And the weights go `rate` of the way to where the paper's objective is zero at
    each step, instead of down its gradient: the same goal, averaged over batches, that cannot turn negative.
    """

    weights: Tensor
    first: Tensor

    def __init__(self, tasks: Sequence[TaskConfig], *, alpha: float = 1.5, rate: float = 0.025) -> None:
        super().__init__()
        self.given = {task.name: task.weight for task in tasks}
        self.balanced = [task.name for task in tasks if not task.adversarial]
        self.alpha, self.rate = alpha, rate
        self.register_buffer("weights", torch.ones(len(self.balanced)))
        self.register_buffer("first", torch.zeros(len(self.balanced)))

    def forward(self, losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> Tensor:
        """losses: task to a scalar; shared: what they were all computed from. Returns a scalar."""
        self._update([losses[name] for name in self.balanced], [x for x in shared if x.requires_grad])
        now = self.shares()
        return torch.stack([now[name] * loss for name, loss in losses.items()]).sum()

    def shares(self) -> dict[str, float]:
        """Task to its weight."""
        learned = dict(zip(self.balanced, self.weights.tolist(), strict=True))
        return {name: given * learned.get(name, 1.0) for name, given in self.given.items()}

    def _update(self, losses: Sequence[Tensor], shared: Sequence[Tensor]) -> None:
        if not shared:
            return
        values = torch.stack([loss.detach() for loss in losses]).to(self.weights)
        norms = torch.stack([_norm(loss, shared) for loss in losses]).to(self.weights)
        heard = (norms > 0.0) & (values > 0.0)
        self.first = torch.where(heard & (self.first == 0.0), values, self.first)
        if int(heard.sum()) < 2:
            return
        ratios = values[heard] / self.first[heard]
        balanced = gradient_balance(norms[heard].cpu(), ratios.cpu(), alpha=self.alpha)
        # Tasks that are not heard keep their weight, so the others share what they had together.
        goal = torch.from_numpy(balanced).to(self.weights) * self.weights[heard].mean()
        self.weights[heard] += self.rate * (goal - self.weights[heard])


TaskWeights = FixedWeights | UncertaintyWeights | GradientNormWeights

#: By the names of `StageConfig.task_weights`.
TASK_WEIGHTS: dict[str, Callable[[Sequence[TaskConfig]], TaskWeights]] = {
    "fixed": FixedWeights,
    "uncertainty": UncertaintyWeights,
    "gradnorm": GradientNormWeights,
}


def _norm(loss: Tensor, shared: Sequence[Tensor]) -> Tensor:
    found = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
    parts = [gradient.norm() for gradient in found if gradient is not None]
    if not parts:
        return loss.new_zeros(())
    # Each rank has the gradients of all ranks' losses at the rows that it encoded.
    return ranks.summed(torch.stack(parts).square().sum()).sqrt() / ranks.count()
