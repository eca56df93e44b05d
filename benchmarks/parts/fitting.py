"""A training of towers without the rest of a run: what a stage of the training loop does, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from affetto.learn.models.recogniser import Recogniser
from affetto.learn.training.optimisation import (
    AveragedWeights,
    freeze,
    learning_rate,
    parameter_groups,
    set_training_mode,
)

RATE_PEAK, DECAY, EMA = 4e-3, 0.01, 0.98


def fit(
    recogniser: Recogniser,
    loss_of: Callable[[int], Tensor],
    steps: int,
    *,
    rate: float = RATE_PEAK,
    frozen: Sequence[str] = (),
) -> None:
    """AdamW, a warm cosine, averaged weights; `loss_of` gives the loss of a step by its number."""
    freeze(recogniser, frozen)
    optimizer = torch.optim.AdamW(parameter_groups(recogniser, DECAY))
    averaged = AveragedWeights(recogniser, EMA)
    set_training_mode(recogniser, frozen)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, rate, 0.1)
        optimizer.zero_grad()
        loss_of(step).backward()
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        averaged.update(recogniser)
    averaged.copy_to(recogniser)
    freeze(recogniser, ())
