"""Losses between two things that a model says itself: of two subsets, of what is missing and what was there.

Both take a row mask and cost exactly zero, with zero gradients, where no row counts. B rows, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from affetto.learn.losses.supervised import counted_rows, weighted_mean
from affetto.records import TaskKind


def symmetric_divergence(
    first: Tensor, second: Tensor, mask: Tensor | None = None, *, kind: TaskKind = "single-label"
) -> Tensor:
    """Half of KL(p|q) + KL(q|p) between two predictions (Jeffreys 1946), mean over rows.

    first and second are logits [B C]; mask [B] bool. p and q are distributions over the classes for a
    single-label task, C questions answered yes or no for a multi-label one (their divergences add up), and
    normal distributions of deviation one around the values for a dimension. Gradients reach both sides.
    """
    first, second = counted_rows(first, second, mask)
    if kind == "multi-label":
        gap = (first.sigmoid() - second.sigmoid()) * (first - second)
    elif kind == "dimension":
        gap = (first - second).square()
    else:
        p, q = functional.log_softmax(first, dim=-1), functional.log_softmax(second, dim=-1)
        gap = (p.exp() - q.exp()) * (p - q)
    costs = 0.5 * gap.sum(dim=-1)
    return weighted_mean(costs, torch.ones_like(costs))


def cosine_distance(guess: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """One minus the cosine between rows of guess and truth [B D], mean over rows of mask [B] bool.

    The truth gets no gradient: a guess must move towards it, it must not move to be guessed.
    """
    guess, truth = counted_rows(guess, truth.detach(), mask)
    costs = 1.0 - functional.cosine_similarity(guess, truth, dim=-1)
    return weighted_mean(costs, torch.ones_like(costs))
