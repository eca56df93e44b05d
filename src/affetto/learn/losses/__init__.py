"""Losses: pure functions from logits, targets and masks to a scalar."""

from __future__ import annotations

from affetto.learn.losses.agreement import cosine_distance, symmetric_divergence
from affetto.learn.losses.balance import effective_number, gradient_balance, inverse_frequency
from affetto.learn.losses.distillation import distillation_loss, similarity_loss
from affetto.learn.losses.supervised import binary_cross_entropy, concordance_loss, soft_cross_entropy

__all__ = [
    "binary_cross_entropy",
    "concordance_loss",
    "cosine_distance",
    "distillation_loss",
    "effective_number",
    "gradient_balance",
    "inverse_frequency",
    "similarity_loss",
    "soft_cross_entropy",
    "symmetric_divergence",
]
