"""Objectives: one function per paradigm, from a model's output and a batch to the loss of a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from affetto.errors import ConfigError
from affetto.learn.config import TaskConfig
from affetto.learn.losses import binary_cross_entropy, concordance_loss, soft_cross_entropy
from affetto.learn.models.recogniser import VOTE, Output
from affetto.records import MODALITIES, Batch, Track


def trained_views(
    views: Sequence[str], modalities: Sequence[str], all_modalities: Sequence[str]
) -> list[str]:
    """The views, and the vote, that a stage over some modalities trains.

    A view of one modality is trained where the stage has it. What merges (the fused view, the vote) is
    trained where the stage has something to merge: two modalities or more, or all the model has.
    """
    merges = len(modalities) > 1 or set(modalities) == set(all_modalities)
    return [view for view in views if (view in modalities if view in MODALITIES else merges)]


def heard(output: Output, view: str) -> Tensor:
    """[B] bool: the rows in which a view, or the vote, has something to say."""
    return torch.stack(list(output.present.values())).any(dim=0) if view == VOTE else output.present[view]


def supervised(
    output: Output,
    batch: Batch,
    tasks: Sequence[TaskConfig],
    *,
    modalities: Sequence[str],
    all_modalities: Sequence[str] = MODALITIES,
    smoothing: float = 0.0,
) -> Tensor:
    """Sum over tasks of the task's weight times the sum of its views' and its vote's losses.

    A view counts the rows in which it has something to say and whose clip carries the label; a view without
    such a row costs nothing. Raises ConfigError `config_invalid` when no head is trained at all.
    """
    losses: list[Tensor] = []
    for task in tasks:
        logits = output.logits[task.name]
        for view in trained_views(list(logits), modalities, all_modalities):
            mask = batch.target_mask[task.name] & heard(output, view)
            losses.append(
                task.weight * _task_loss(task, logits[view], batch.targets[task.name], mask, smoothing)
            )
    if not losses:
        names = ", ".join(task.name for task in tasks)
        raise ConfigError(
            "config_invalid",
            f"a stage over {', '.join(modalities)} trains no head of {names}: check their views",
        )
    return torch.stack(losses).sum()


def mixup(batch: Batch, alpha: float) -> Batch:
    """Each row mixed with another: media and targets alike, by one share drawn from Beta(alpha, alpha).

    Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization". Waveforms and pictures add up, words do
    not: a batch that holds text comes back as it is. Rows are mixed where both have the same modalities and
    the same tasks' labels.
    """
    if alpha <= 0.0 or "text" in batch.inputs:
        return batch
    rows = len(batch.ids)
    other = torch.randperm(rows)
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    masks = {name: track.mask.any(dim=1) for name, track in batch.inputs.items()}
    alike = torch.stack([mask == mask[other] for mask in (*masks.values(), *batch.target_mask.values())]).all(
        dim=0
    )
    lam = torch.where(alike, share, 1.0)
    inputs = {
        name: Track(
            _mix(track.values, other, lam),
            track.mask | (track.mask[other] & _over(alike, track.mask)),
        )
        for name, track in batch.inputs.items()
    }
    return Batch(
        inputs=inputs,
        targets={name: _mix(values, other, lam) for name, values in batch.targets.items()},
        target_mask=batch.target_mask,
        ids=batch.ids,
    )


def _task_loss(task: TaskConfig, logits: Tensor, targets: Tensor, mask: Tensor, smoothing: float) -> Tensor:
    if task.kind == "single-label":
        return soft_cross_entropy(logits, targets, mask, smoothing=smoothing)
    if task.kind == "multi-label":
        return binary_cross_entropy(logits, targets, mask, smoothing=smoothing)
    if task.kind == "dimension":
        return concordance_loss(logits, targets, mask)
    raise ConfigError("config_invalid", f"task {task.name}: a {task.kind} task has no supervised objective")


def _mix(values: Tensor, other: Tensor, lam: Tensor) -> Tensor:
    lam = _over(lam.to(values), values)
    return lam * values + (1.0 - lam) * values[other]


def _over(rows: Tensor, values: Tensor) -> Tensor:
    """[B] with as many dimensions of one as `values` has more."""
    return rows.reshape(-1, *[1] * (values.ndim - 1))
