"""The recogniser: encoders, a fusion, heads and votes put together. It builds nothing itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from affetto.learn.decoders.heads import AdversarialHead
from affetto.learn.decoders.sharing import Tied
from affetto.learn.fusion import FUSED, Views
from affetto.learn.fusion.views import UnimodalViews
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
    `fusion.unimodal`, `sharing.speech`, `heads.emotion.speech`, `votes.emotion`.

    sharing: view to what its tasks share before their heads; without it they share the view as it is.
    private: tasks that are there for training alone (adversaries, who is speaking): in evaluation mode they
             have no answer.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        heads: Mapping[str, Mapping[str, nn.Module]],
        votes: Mapping[str, nn.Module],
        *,
        sharing: Mapping[str, nn.Module] | None = None,
        private: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(dict(encoders))
        self.fusion = fusion
        self.heads = nn.ModuleDict({task: nn.ModuleDict(dict(views)) for task, views in heads.items()})
        self.votes = nn.ModuleDict(dict(votes))
        self.sharing = nn.ModuleDict(dict(sharing or {}))
        self.private = frozenset(private)

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

    @property
    def answers_alone(self) -> bool:
        """Whether each modality has an answer of its own that nothing of the fusion has part in."""
        views = cast(tuple[str, ...], self.fusion.views)
        return FUSED in views and isinstance(getattr(self.fusion, "unimodal", None), UnimodalViews)

    def fuse(self, tracks: Mapping[str, Track], *, alone: bool = False) -> Output:
        """Encoded Tracks to answers. A missing key and a mask that is all False are the same absence.

        alone: of a model that `answers_alone`, what each modality says and nothing merged, for less time.
        """
        views = self.fusion.unimodal(tracks) if alone else self.fusion(tracks)  # type: ignore[operator]
        logits: dict[str, dict[str, Tensor]] = {}
        weights: dict[str, Tensor] = {}
        read = self._shared(views)
        for task in self.heads:
            if task in self.private and not self.training:
                continue
            heads = cast(nn.ModuleDict, self.heads[task])
            said = {name: head(*read[name][task]) for name, head in heads.items() if name in read}
            if alone:
                logits[task] = said
                continue
            merged, shares = self.votes[task](said, views.present)
            if shares is None and views.weights is not None:
                shares = views.weights[:, [list(views.vectors).index(name) for name in said]]
            if shares is not None:
                weights[task] = shares
            logits[task] = {**said, VOTE: merged}
        return Output(logits, weights, views.vectors, views.present)

    def set_progress(self, progress: float) -> None:
        """Tell the adversaries which share of training, 0 to 1, is done."""
        for module in self.modules():
            if isinstance(module, AdversarialHead):
                module.set_progress(progress)

    def penalty(self) -> Tensor:
        """What the model itself costs, beside its answers: the price of the sharing forms that have one."""
        prices = [form.penalty() for form in self.sharing.values() if isinstance(form, Tied)]
        return torch.stack(prices).sum() if prices else torch.zeros(())

    def _shared(self, views: Views) -> dict[str, dict[str, tuple[Tensor, Track]]]:
        """View to task to what the task's head reads: a vector [B D], and a Track where a head wants one."""
        read: dict[str, dict[str, tuple[Tensor, Track]]] = {}
        for view, vector in views.vectors.items():
            track = views.tracks[view]
            asking = {
                t: cast(nn.ModuleDict, self.heads[t])[view] for t in self.heads if view in self.views_of(t)
            }
            if view not in self.sharing:
                read[view] = dict.fromkeys(asking, (vector, track))
                continue
            form = self.sharing[view]
            vectors = form(vector)
            steps = form(track.values) if any(head.reads_track for head in asking.values()) else {}
            read[view] = {
                task: (vectors[task], replace(track, values=steps[task]) if steps else track)
                for task in asking
            }
        return read

    def forward(self, inputs: Mapping[str, Track], *, alone: bool = False) -> Output:
        """Raw media Tracks to answers: `fuse(encode(inputs))`."""
        return self.fuse(self.encode(inputs), alone=alone)
