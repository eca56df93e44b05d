"""Small private decoders of one task and one view: vector [B D] or Track [B T D] in, logits [B C] out."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from affetto.learn.layers.reversal import reversal_strength, reverse_gradient
from affetto.learn.layers.transformer import CrossBlock
from affetto.records import Track


class LinearHead(nn.Module):
    """One linear map of the view's vector."""

    reads_track = False

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.out = nn.Linear(dim, classes)

    def forward(self, vector: Tensor, track: Track | None = None) -> Tensor:
        """vector: [B D]. Returns [B C]."""
        return self.out(vector)


class ProbeHead(nn.Module):
    """One linear map that reads the vector and teaches it nothing: what an embedding holds is asked, not told."""

    reads_track = False

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.out = nn.Linear(dim, classes)

    def forward(self, vector: Tensor, track: Track | None = None) -> Tensor:
        """vector: [B D]. Returns [B C]."""
        return self.out(vector.detach())


class MlpHead(nn.Module):
    """One hidden layer between the view's vector and the logits."""

    reads_track = False

    def __init__(self, dim: int, classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(dim, classes)

    def forward(self, vector: Tensor, track: Track | None = None) -> Tensor:
        """vector: [B D]. Returns [B C]."""
        return self.out(self.dropout(nn.functional.gelu(self.hidden(vector))))


class QueryHead(nn.Module):
    """A learned query per class reads the view's Track (Liu et al. 2021, "Query2Label"): classes can look at
    different moments. Without a Track the vector is read as a single step.
    """

    reads_track = True

    def __init__(
        self, dim: int, classes: int, *, heads: int = 4, layers: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, classes, dim) * 0.02)
        self.blocks = nn.ModuleList(CrossBlock(dim, heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.weight = nn.Parameter(torch.randn(classes, dim) * dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, vector: Tensor, track: Track | None = None) -> Tensor:
        """vector: [B D]; track: [B T D]. Returns [B C]."""
        if track is None:
            track = Track(vector[:, None], torch.ones_like(vector[:, :1], dtype=torch.bool))
        x = self.queries.expand(vector.shape[0], -1, -1)
        for block in self.blocks:
            x = block(x, track.values, track.mask)
        return (self.norm(x) * self.weight).sum(dim=-1) + self.bias


class AdversarialHead(nn.Module):
    """Any head, behind a gradient reversal: it learns its task, and what it reads unlearns it.

    Ganin and Lempitsky 2015, "Unsupervised Domain Adaptation by Backpropagation". `peak` is the strength at
    the end of training; `strength` is the present one, 0 until `set_progress` is called.
    """

    def __init__(self, head: nn.Module, peak: float) -> None:
        super().__init__()
        self.head = head
        self.peak = peak
        self.strength = 0.0
        self.reads_track = head.reads_track

    def set_progress(self, progress: float) -> None:
        """As strong as the schedule has it at this share of training, 0 to 1."""
        self.strength = self.peak * reversal_strength(progress)

    def forward(self, vector: Tensor, track: Track | None = None) -> Tensor:
        """vector: [B D]; track: [B T D]. Returns [B C]."""
        if track is not None:
            track = replace(track, values=reverse_gradient(track.values, self.strength))
        return self.head(reverse_gradient(vector, self.strength), track)
