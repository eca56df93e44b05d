"""Losses against a teacher: what it answers, and what it finds alike."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def distillation_loss(
    logits: Tensor, teacher: Tensor, mask: Tensor | None = None, *, temperature: float = 2.0
) -> Tensor:
    """Divergence of the student's softened answers from the teacher's, mean over rows.

    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network": both are softened by `temperature`, and
    the loss is multiplied by its square, so that its gradients keep their size; the teacher gets none. Classes may
    also be the keys that a query is compared with. logits and teacher [B C]; mask
    [B] bool. No row costs zero.
    """
    if mask is not None:
        logits, teacher = logits[mask], teacher[mask]
    said = functional.log_softmax(logits / temperature, dim=-1)
    wanted = functional.log_softmax(teacher.detach().to(logits) / temperature, dim=-1)
    total = functional.kl_div(said, wanted, reduction="sum", log_target=True)
    return total * temperature**2 / max(len(logits), 1)


def similarity_loss(vectors: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """How far the rows that the student finds alike differ from those that the teacher finds alike.

    Tung and Mori 2019, "Similarity-Preserving Knowledge Distillation": mean squared difference of the cosines
    between all pairs of rows. The two may be of any width. vectors [B D], teacher [B D']; mask [B] bool. Fewer
    than two rows cost zero.
    """
    if mask is not None:
        vectors, teacher = vectors[mask], teacher[mask]
    if len(vectors) < 2:
        return vectors.sum() * 0.0
    own, wanted = (functional.normalize(x, dim=-1) for x in (vectors, teacher.to(vectors)))
    return (own @ own.T - wanted @ wanted.T).square().mean()


def distilled(contrastive: Tensor, distillation: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha * L_contrastive + beta * L_KD."""
    return alpha * contrastive + beta * distillation
