"""Losses that make a student answer as a teacher does."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def similarity_distillation(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) over the keys of each query, the mean over queries: logits [Q K] on both sides.

    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", for similarities in the place of
    classes: the student's queries are to see the keys as the teacher's do. The teacher gets no gradient. The
    square of the temperature keeps gradients as large as those of a loss beside it.
    """
    wanted = functional.log_softmax(teacher.detach() / temperature, dim=1)
    said = functional.log_softmax(student / temperature, dim=1)
    return temperature**2 * functional.kl_div(said, wanted, log_target=True, reduction="batchmean")


def distilled(contrastive: Tensor, distillation: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha * L_contrastive + beta * L_KD."""
    return alpha * contrastive + beta * distillation
