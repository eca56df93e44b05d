"""Losses against known targets. Every one takes a row mask: a clip need not carry every label.

A batch in which no row carries the label costs exactly zero and gives zero gradients, so that tasks can be
mixed freely in one batch. B rows, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    mask: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    smoothing: float = 0.0,
    focus: float = 0.0,
) -> Tensor:
    """Cross-entropy against a distribution: one-hot labels, annotators' votes, or several classes at once.

    logits [B C]; targets [B C], rows summing to 1; mask [B] bool (True = the row counts); class_weights [C].
    `smoothing` mixes the targets with the uniform distribution (Szegedy et al. 2016, "Rethinking the
    Inception Architecture"). A row weighs the expectation of `class_weights` under its target, and the loss
    is the weighted mean over rows: its scale does not depend on which classes a batch happens to hold.
    `focus` is the gamma of the focal loss (Lin et al. 2017): a class that is expected with probability p
    costs (1 - p)^gamma as much, so that easy rows count less.
    """
    logits, targets = counted_rows(logits, targets, mask)
    weights = logits.new_ones(len(logits)) if class_weights is None else targets @ class_weights.to(logits)
    smoothed = targets * (1.0 - smoothing) + smoothing / logits.shape[-1]
    logs = functional.log_softmax(logits, dim=-1)
    if focus > 0.0:
        logs = logs * _missing(logs, focus)
    losses = -(smoothed * logs).sum(dim=-1)
    return weighted_mean(losses, weights)


def binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    mask: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    smoothing: float = 0.0,
    focus: float = 0.0,
) -> Tensor:
    """Cross-entropy of C independent yes/no questions, for multi-label tasks; mean over rows and classes.

    logits and targets [B C] (0 to 1); mask [B] bool; class_weights [C] weigh the questions. `smoothing` moves
    the targets towards one half; `focus` is the gamma of the focal loss, as in `soft_cross_entropy`.
    """
    logits, targets = counted_rows(logits, targets, mask)
    smoothed = targets * (1.0 - smoothing) + 0.5 * smoothing
    if focus > 0.0:
        yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
        losses = -smoothed * yes * _missing(yes, focus) - (1.0 - smoothed) * no * _missing(no, focus)
    else:
        losses = functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
    weights = torch.ones_like(losses) if class_weights is None else class_weights.to(logits).expand_as(losses)
    return weighted_mean(losses.flatten(), weights.flatten())


def concordance_loss(
    predictions: Tensor, targets: Tensor, mask: Tensor | None = None, *, epsilon: float = 1e-8
) -> Tensor:
    """One minus the concordance correlation coefficient (Lin 1989), for dimensions such as valence.

    predictions [B] or [B 1]; targets [B]; mask [B] bool. Correlation needs a spread: with fewer than two
    counted rows, or targets and predictions all equal to one number, the loss is that of no correlation or of
    a perfect match, with finite gradients either way; fewer than two rows cost zero.
    """
    predictions, targets = counted_rows(predictions.reshape(len(targets)), targets, mask)
    if len(targets) < 2:
        return predictions.sum() * 0.0
    centred_x, centred_y = predictions - predictions.mean(), targets - targets.mean()
    covariance = (centred_x * centred_y).mean()
    spread = centred_x.square().mean() + centred_y.square().mean()
    offset = (predictions.mean() - targets.mean()).square()
    return 1.0 - (2.0 * covariance + epsilon) / (spread + offset + epsilon)


def _missing(logs: Tensor, focus: float) -> Tensor:
    """(1 - p)^focus from log p. The floor keeps the slope of a root finite where p is one."""
    return (-torch.expm1(logs)).clamp_min(torch.finfo(logs.dtype).eps) ** focus


def counted_rows(values: Tensor, targets: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The rows of both [B ...] that mask [B] bool counts, as one type.

    Selecting (not multiplying by zero) keeps a masked row's NaN or infinity out of value and gradient.
    """
    targets = targets.to(values)
    return (values, targets) if mask is None else (values[mask], targets[mask])


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """The mean of losses [B] by weights [B]; exactly zero, with zero gradients, where there is no row."""
    # The floor only acts when there is no row at all, where the sum above it is zero and still has a graph.
    return (losses * weights).sum() / weights.sum().clamp_min(torch.finfo(losses.dtype).tiny)
