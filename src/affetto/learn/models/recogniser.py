"""The recogniser: encoders, a fusion, heads and votes put together. It builds nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from affetto.records import Track

#: The name under which the merged logits stand beside those of the views.
VOTE = "vote"


@dataclass(frozen=True)
class Output:
    """What the model says of a batch.

    logits:     task to view to [B C], with the view `vote`.
    weights:    task to [B V], in the order of `Recogniser.views_of(task)`: of the vote, else the gate of
                the fusion; a form without either has no entry.
    embeddings: view to [B D].
    present:    view to [B] bool: what an absent view says means nothing.
    """

    logits: Mapping[str, Mapping[str, Tensor]]
    weights: Mapping[str, Tensor]
    embeddings: Mapping[str, Tensor]
    present: Mapping[str, Tensor]


class Recogniser(nn.Module):
    """Any subset of modalities in, logits of every task and view out.

    Sub-modules have stable names, which settings refer to by prefix: `encoders.speech`, `fusion`,
    `fusion.unimodal`, `heads.emotion.speech`, `votes.emotion`.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        heads: Mapping[str, Mapping[str, nn.Module]],
        votes: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(dict(encoders))
        self.fusion = fusion
        self.heads = nn.ModuleDict({task: nn.ModuleDict(dict(views)) for task, views in heads.items()})
        self.votes = nn.ModuleDict(dict(votes))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the model has an encoder for."""
        return tuple(self.encoders)

    def views_of(self, task: str) -> tuple[str, ...]:
        """The views that answer a task, in the order of its weights."""
        return tuple(cast(nn.ModuleDict, self.heads[task]))

    def encode(self, inputs: Mapping[str, Track]) -> dict[str, Track]:
        """Raw media Tracks to Tracks [B T D]. Modalities without an encoder here are left out."""
        return {name: encoder(inputs[name]) for name, encoder in self.encoders.items() if name in inputs}

    def fuse(self, tracks: Mapping[str, Track]) -> Output:
        """Encoded Tracks to answers. A missing key and a mask that is all False are the same absence."""
        views = self.fusion(tracks)
        logits: dict[str, dict[str, Tensor]] = {}
        weights: dict[str, Tensor] = {}
        for task in self.heads:
            heads = cast(nn.ModuleDict, self.heads[task])
            said = {name: head(views.vectors[name], views.tracks[name]) for name, head in heads.items()}
            merged, shares = self.votes[task](said, views.present)
            if shares is None and views.weights is not None:
                shares = views.weights[:, [list(views.vectors).index(name) for name in said]]
            if shares is not None:
                weights[task] = shares
            logits[task] = {**said, VOTE: merged}
        return Output(logits, weights, views.vectors, views.present)

    def forward(self, inputs: Mapping[str, Track]) -> Output:
        """Raw media Tracks to answers: `fuse(encode(inputs))`."""
        return self.fuse(self.encode(inputs))
