"""Votes: the views' logits of one task merged into one answer, listening to present views only.

A vote is built as `Name(views, kind)` and is called with logits [B C] and presence [B] by view. It gives the
merged logits [B C] and the weights [B V] in the order of `views`, or None where it has none to report. For
single-label tasks the merged logits are log-probabilities up to a constant per row. One that has `weigh` is
told after training how well each view did on the validation clips; one that has `trust`, at delivery, which
exponents serve held-out people best.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affetto.learn.fusion.views import FUSED

Logits = Mapping[str, Tensor]
Presence = Mapping[str, Tensor]


class LearnedVote(nn.Module):
    """A product of experts whose exponents are learned for each subset of modalities.

    vote = sum over views of s_v(present) * log_softmax(logits_v); s begins at 1 for every modality present
    and at 0 for `fused`: exactly the product of experts (Hinton 2002), which training then improves upon.
    Tasks of other kinds take the mean of the logits weighted by s. The weights are s normalised over the
    present views.
    """

    def __init__(self, views: tuple[str, ...], kind: str) -> None:
        super().__init__()
        self.views = views
        self.kind = kind
        self.modalities = tuple(view for view in views if view != FUSED)
        self.table = nn.Parameter(self._product_of_experts())

    def forward(self, logits: Logits, present: Presence) -> tuple[Tensor, Tensor]:
        """Logits [B C] and presence [B] by view. Returns the merged logits [B C] and weights [B V]."""
        strengths = self._strengths(present)
        shares = strengths / strengths.sum(dim=1, keepdim=True).clamp(min=1e-6)
        stacked = _stack(logits, self.views)
        if self.kind == "single-label":
            return (strengths[..., None] * F.log_softmax(stacked, dim=-1)).sum(dim=1), shares
        return (shares[..., None] * stacked).sum(dim=1), shares

    def trust(self, subset: Collection[str], strengths: Mapping[str, float]) -> None:
        """Set the exponents of the views for a subset of modalities; a view without one is not heard there."""
        row = sum(2**bit for bit, name in enumerate(self.modalities) if name in subset)
        with torch.no_grad():
            self.table[row] = torch.tensor([strengths.get(view, 0.0) for view in self.views])

    def _strengths(self, present: Presence) -> Tensor:
        there = _stack_presence(present, self.views)
        subset = torch.zeros_like(there[:, 0], dtype=torch.int64)
        for bit, name in enumerate(self.modalities):
            subset = subset + present[name].to(torch.int64) * 2**bit
        raw = self.table[subset]
        strengths = raw.clamp(min=0.0)
        if self.training:
            # Straight through the clamp: a strength that fell below zero can still come back.
            strengths = raw + (strengths - raw).detach()
        return strengths * there.to(strengths.dtype)

    def _product_of_experts(self) -> Tensor:
        table = torch.zeros(2 ** len(self.modalities), len(self.views))
        for column, view in enumerate(self.views):
            if view != FUSED:
                bit = self.modalities.index(view)
                table[:, column] = torch.tensor([float(row >> bit & 1) for row in range(len(table))])
            else:
                # A task may ask fewer modalities than `fused` has seen: then it is the only one to speak.
                table[0, column] = 1.0
        return table


class MeanVote(nn.Module):
    """The mean of the present views' probabilities (sum rule, Kittler et al. 1998), or of their logits."""

    def __init__(self, views: tuple[str, ...], kind: str) -> None:
        super().__init__()
        self.views = views
        self.kind = kind

    def forward(self, logits: Logits, present: Presence) -> tuple[Tensor, Tensor]:
        """Logits [B C] and presence [B] by view. Returns the merged logits [B C] and weights [B V]."""
        shares = _equal_shares(_stack_presence(present, self.views))
        return _mean(_stack(logits, self.views), shares, self.kind), shares


class ValidatedVote(nn.Module):
    """The mean of the present views' probabilities, or logits, weighted by how well each did on validation.

    p = sum of a_v p_v,  a_v = score_v / sum of the scores of the views present (weighted average, Kuncheva
    2004, "Combining Pattern Classifiers"). Nothing is trained: `weigh` sets the scores once the heads are,
    and until then all are equal.
    """

    def __init__(self, views: tuple[str, ...], kind: str) -> None:
        super().__init__()
        self.views = views
        self.kind = kind
        self.register_buffer("scores", torch.ones(len(views)))

    def weigh(self, scores: Mapping[str, float]) -> None:
        """Take each view's score above chance. One at chance, or without a score, is heard only if alone."""
        values = [max(scores.get(view, 0.0), 1e-6) for view in self.views]
        self.get_buffer("scores").copy_(torch.tensor(values))

    def forward(self, logits: Logits, present: Presence) -> tuple[Tensor, Tensor]:
        """Logits [B C] and presence [B] by view. Returns the merged logits [B C] and weights [B V]."""
        heard = _stack_presence(present, self.views) * self.get_buffer("scores")
        shares = heard / heard.sum(dim=1, keepdim=True).clamp(min=1e-9)
        return _mean(_stack(logits, self.views), shares, self.kind), shares


class MajorityVote(nn.Module):
    """Every present view has one vote; a tie goes to the higher mean probability. Without gradient.

    Only for single-label tasks (ValueError otherwise). The merged logits are the log of the votes' shares,
    the mean probabilities counted as one voter more: less than a vote, so they settle ties and nothing else.
    """

    def __init__(self, views: tuple[str, ...], kind: str) -> None:
        super().__init__()
        if kind != "single-label":
            raise ValueError(f"a majority needs single-label tasks, this one is {kind}: use mean")
        self.views = views

    @torch.no_grad()
    def forward(self, logits: Logits, present: Presence) -> tuple[Tensor, Tensor]:
        """Logits [B C] and presence [B] by view. Returns the merged logits [B C] and weights [B V]."""
        there = _stack_presence(present, self.views).float()
        stacked = _stack(logits, self.views)
        shares = _equal_shares(there)
        choices = F.one_hot(stacked.argmax(dim=-1), stacked.shape[-1]).to(stacked.dtype)
        votes = (choices * there[..., None]).sum(dim=1) + _mean_probabilities(stacked, shares)
        return _log(votes / (there.sum(dim=1, keepdim=True) + 1.0)), shares


class FusedVote(nn.Module):
    """What `fused` says, for forms in which nothing is left to merge; zeros where nothing is present."""

    def __init__(self, views: tuple[str, ...], kind: str) -> None:
        super().__init__()
        if FUSED not in views:
            raise ValueError(f"no view is fused among {', '.join(views)}: use learned or mean")

    def forward(self, logits: Logits, present: Presence) -> tuple[Tensor, None]:
        """Logits [B C] and presence [B] by view. Returns the logits of `fused` [B C]."""
        return logits[FUSED] * present[FUSED][:, None].to(logits[FUSED].dtype), None


def _stack(logits: Logits, views: tuple[str, ...]) -> Tensor:
    return torch.stack([logits[view] for view in views], dim=1)


def _stack_presence(present: Presence, views: tuple[str, ...]) -> Tensor:
    return torch.stack([present[view] for view in views], dim=1)


def _equal_shares(there: Tensor) -> Tensor:
    there = there.float()
    return there / there.sum(dim=1, keepdim=True).clamp(min=1.0)


def _mean(stacked: Tensor, shares: Tensor, kind: str) -> Tensor:
    if kind != "single-label":
        return (shares[..., None] * stacked).sum(dim=1)
    return _log(_mean_probabilities(stacked, shares))


def _mean_probabilities(stacked: Tensor, shares: Tensor) -> Tensor:
    return (shares[..., None] * F.softmax(stacked, dim=-1)).sum(dim=1)


def _log(probabilities: Tensor) -> Tensor:
    # Finite where nothing is present, and then equal for every class.
    return probabilities.clamp(min=1e-12).log()
