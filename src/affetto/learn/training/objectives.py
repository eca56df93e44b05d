"""Objectives: one function per paradigm, from a model's output and a batch to the loss of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from affetto.errors import ConfigError
from affetto.learn.config import TaskConfig
from affetto.learn.losses import binary_cross_entropy, concordance_loss, soft_cross_entropy
from affetto.learn.models.recogniser import VOTE, Output
from affetto.records import MODALITIES, Batch


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


def task_losses(
    output: Output,
    batch: Batch,
    tasks: Sequence[TaskConfig],
    *,
    modalities: Sequence[str],
    all_modalities: Sequence[str] = MODALITIES,
    smoothing: float = 0.0,
    class_weights: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Task to the sum of its views' and its vote's losses; the tasks' weights are not in it.

    A view counts the rows in which it has something to say and whose clip carries the label; a view without
    such a row costs nothing, and its gradient is zero. class_weights: task to [C], for those that have them.
    Raises ConfigError `config_invalid` when no head is trained at all.
    """
    found: dict[str, Tensor] = {}
    for task in tasks:
        logits = output.logits[task.name]
        weights = (class_weights or {}).get(task.name)
        losses = []
        for view in trained_views(list(logits), modalities, all_modalities):
            mask = batch.target_mask[task.name] & heard(output, view)
            losses.append(_task_loss(task, logits[view], batch.targets[task.name], mask, smoothing, weights))
        if losses:
            found[task.name] = torch.stack(losses).sum()
    if not found:
        names = ", ".join(task.name for task in tasks)
        raise ConfigError(
            "config_invalid",
            f"a stage over {', '.join(modalities)} trains no head of {names}: check their views",
        )
    return found


def _task_loss(
    task: TaskConfig,
    logits: Tensor,
    targets: Tensor,
    mask: Tensor,
    smoothing: float,
    class_weights: Tensor | None,
) -> Tensor:
    if task.kind == "dimension":
        return concordance_loss(logits, targets, mask)
    if task.kind == "sequence":
        raise ConfigError("config_invalid", f"task {task.name}: a sequence task has no supervised objective")
    loss = binary_cross_entropy if task.kind == "multi-label" else soft_cross_entropy
    return loss(logits, targets, mask, class_weights=class_weights, smoothing=smoothing, focus=task.focus)
