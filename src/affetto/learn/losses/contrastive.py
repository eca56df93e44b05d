"""Losses that bring what means the same together in one space, and keep the rest apart.

Embeddings [B D] have unit length, so that their products are cosines; `scale` (one over the temperature) turns
these into logits. Row i of one modality belongs to row i of the other, unless `positives` [Q K] (bool) says
which keys each query belongs to: any number of them. A query without a positive costs nothing; a batch
without any costs exactly zero and gives zero gradients. Q queries, K keys.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 128  # rows of a table of cosines at a time


def info_nce(queries: Tensor, keys: Tensor, scale: Tensor | float, positives: Tensor | None = None) -> Tensor:
    """Which key belongs to this query? The mean over queries of -log softmax at their positives.

    van den Oord et al. 2018, "Representation Learning with Contrastive Predictive Coding"; with several
    positives the mean over them of the log-probabilities (Khosla et al. 2020, their "out" form).
    """
    positives = _own_rows(queries, keys) if positives is None else positives
    return _mean_negative_log(scale * queries @ keys.T, positives)


def symmetric(a: Tensor, b: Tensor, scale: Tensor | float, positives: Tensor | None = None) -> Tensor:
    """Both directions of `info_nce`, halved. Radford et al. 2021, "Learning Transferable Visual Models From
    Natural Language Supervision" (CLIP)."""
    positives = _own_rows(a, b) if positives is None else positives
    # One table of cosines serves both ways, some rows at a time: of thousands, a whole one would not fit a cache.
    forth, back = [], []
    for rows, own in zip((scale * a).split(_BLOCK), positives.split(_BLOCK), strict=True):
        logits = rows @ b.T
        pulled = torch.where(own, logits, 0.0)
        forth.append(torch.stack([logits.logsumexp(dim=1), pulled.sum(dim=1)]))
        back.append(torch.stack([logits.logsumexp(dim=0), pulled.sum(dim=0)]))
    log_sums, at_positives = torch.cat(forth, dim=1)
    there = _per_query(log_sums, at_positives, positives.sum(dim=1))
    log_sums, at_positives = torch.stack(back, dim=1)
    return 0.5 * (
        there + _per_query(log_sums.logsumexp(dim=0), at_positives.sum(dim=0), positives.sum(dim=0))
    )


def alternating(
    a: Tensor, b: Tensor, scale: Tensor | float, step: int, positives: Tensor | None = None
) -> Tensor:
    """`info_nce` with `a` as the query in even steps and as the target in odd ones: `symmetric` on average,
    at one softmax a step."""
    if step % 2 == 0:
        return info_nce(a, b, scale, positives)
    return info_nce(b, a, scale, None if positives is None else positives.T)


def nt_xent(a: Tensor, b: Tensor, scale: Tensor | float, positives: Tensor | None = None) -> Tensor:
    """`info_nce` among all 2 B rows, where the rows of the query's own side are wrong answers too.

    Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations" (SimCLR). Rows of
    the own side that mean the same as the query (they share a positive with it) are left out: they are not
    wrong.
    """
    positives = _own_rows(a, b) if positives is None else positives
    rows = torch.cat([a, b])
    across = _corners(positives, positives.T)
    own = torch.cat([a.new_zeros(len(a), dtype=torch.bool), a.new_ones(len(b), dtype=torch.bool)])
    same_side = own[:, None] == own[None]
    alike = (across.float() @ across.float() > 0) | torch.eye(len(rows), dtype=torch.bool, device=a.device)
    return _mean_negative_log(scale * rows @ rows.T, across, ~(same_side & alike))


def sigmoid_pairwise(
    a: Tensor, b: Tensor, scale: Tensor | float, bias: Tensor | float, positives: Tensor | None = None
) -> Tensor:
    """Is this a pair? Asked of all Q K pairs by themselves: no softmax, so any number of positives.

    Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training" (SigLIP): the sum over pairs, divided by
    the number of queries. `bias` is learned, and begins below zero as most pairs are none.
    """
    positives = _own_rows(a, b) if positives is None else positives
    logits = scale * a @ b.T + bias
    return -functional.logsigmoid(torch.where(positives, logits, -logits)).sum() / max(len(a), 1)


def supervised_contrastive(x: Tensor, labels: Tensor, scale: Tensor | float) -> Tensor:
    """All rows with the query's label are its positives, of whatever modality; all others are wrong answers.

    Khosla et al. 2020, "Supervised Contrastive Learning", L_out. x [N D]; labels [N]. With each label on two
    rows it is `nt_xent`.
    """
    others = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    positives = (labels[:, None] == labels[None]) & others
    return _mean_negative_log(scale * x @ x.T, positives, others)


def distance_and_divergence(
    f_s: Tensor, f_t: Tensor, logits_s: Tensor, logits_t: Tensor, weight: float
) -> Tensor:
    """||f_s - f_t||^2 + weight * KL(p_s || p_t), the mean over B pairs, for one encoder that both share.

    Features [B D] and the logits [B C] of what is said from them. Nothing pushes apart what differs: without
    a loss on the logits both sides may agree on a single point.
    """
    distance = (f_s - f_t).square().sum(dim=1)
    log_s, log_t = functional.log_softmax(logits_s, dim=1), functional.log_softmax(logits_t, dim=1)
    divergence = (log_s.exp() * (log_s - log_t)).sum(dim=1)
    return _mean(distance + weight * divergence)


def _own_rows(a: Tensor, b: Tensor) -> Tensor:
    if len(a) != len(b):
        raise ValueError(f"{len(a)} rows and {len(b)}: pairs need as many of each, or positives")
    return torch.eye(len(a), dtype=torch.bool, device=a.device)


def _corners(upper_right: Tensor, lower_left: Tensor) -> Tensor:
    """A square of blocks, False on the diagonal: [Q K] and [K Q] to [Q+K Q+K]."""
    queries, keys = upper_right.shape
    top = torch.cat([upper_right.new_zeros(queries, queries), upper_right], dim=1)
    return torch.cat([top, torch.cat([lower_left, upper_right.new_zeros(keys, keys)], dim=1)])


def _mean_negative_log(logits: Tensor, positives: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean over the queries with a positive of -log softmax over what is `counted` (None: all), at their
    positives. The softmax itself is never written out: of thousands of rows it costs more than its encoders."""
    among = logits if counted is None else logits.masked_fill(~counted, -torch.inf)
    at_positives = torch.where(positives, logits, 0.0).sum(dim=1)
    return _per_query(among.logsumexp(dim=1), at_positives, positives.sum(dim=1))


def _per_query(log_sums: Tensor, at_positives: Tensor, counts: Tensor) -> Tensor:
    """The mean over the queries with a positive, from the logarithm of their sum over keys and the logits of their
    positives added up, all [Q]."""
    has = counts > 0
    return _mean(log_sums[has] - at_positives[has] / counts[has])


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(len(values), 1)
