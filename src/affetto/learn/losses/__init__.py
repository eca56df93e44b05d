"""Losses: pure functions from logits, targets and masks to a scalar."""

from __future__ import annotations

from affetto.learn.losses.agreement import cosine_distance, symmetric_divergence
from affetto.learn.losses.balance import effective_number, gradient_balance, inverse_frequency
from affetto.learn.losses.contrastive import (
    alternating,
    distance_and_divergence,
    info_nce,
    nt_xent,
    sigmoid_pairwise,
    supervised_contrastive,
    symmetric,
)
from affetto.learn.losses.distillation import distillation_loss, distilled, similarity_loss
from affetto.learn.losses.supervised import binary_cross_entropy, concordance_loss, soft_cross_entropy

__all__ = [
    "alternating",
    "binary_cross_entropy",
    "concordance_loss",
    "cosine_distance",
    "distance_and_divergence",
    "distillation_loss",
    "distilled",
    "effective_number",
    "gradient_balance",
    "info_nce",
    "inverse_frequency",
    "nt_xent",
    "sigmoid_pairwise",
    "similarity_loss",
    "soft_cross_entropy",
    "supervised_contrastive",
    "symmetric",
    "symmetric_divergence",
]
