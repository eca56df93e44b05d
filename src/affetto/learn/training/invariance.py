"""Part of the modalities must do as well as all of them: what a second, poorer pass over a batch costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from affetto.learn.config import TaskConfig
from affetto.learn.losses import cosine_distance, symmetric_divergence
from affetto.learn.models.recogniser import VOTE, Output
from affetto.learn.models.reconstructor import Reconstructor
from affetto.records import Track


def take_part(tracks: Mapping[str, Track]) -> dict[str, Track]:
    """The Tracks [B T D]; every row that has several modalities keeps a random proper part of them.

    A modality stays with probability one half; where that would leave all of them or none, one drawn at
    random goes, or stays alone. Other rows come back as they are.
    """
    there = torch.stack([track.mask.any(dim=1) for track in tracks.values()], dim=1)  # [B M]
    draws = torch.rand(there.shape, device=there.device)
    chosen = torch.where(there, draws, -1.0).argmax(dim=1)[:, None]
    alone = torch.zeros_like(there).scatter(1, chosen, True)
    kept = there & (draws > 0.5)
    kept = torch.where(kept.any(dim=1, keepdim=True), kept, alone)
    kept = torch.where((kept == there).all(dim=1, keepdim=True), there & ~alone, kept)
    kept = torch.where(there.sum(dim=1, keepdim=True) > 1, kept, there)
    return {
        name: replace(track, mask=track.mask & kept[:, i, None])
        for i, (name, track) in enumerate(tracks.items())
    }


def consistency(whole: Output, part: Output, tasks: Sequence[TaskConfig]) -> Tensor:
    """Symmetric divergence between the votes of the whole and of a part, summed over tasks by their weight.

    Rows count that lack something in the part and in which the task still has a view to ask.
    """
    fewer = _lost(whole, part).any(dim=1)
    costs = []
    for task in tasks:
        if task.private or task.weight == 0.0:
            continue
        heads = [view for view in whole.logits[task.name] if view != VOTE]
        asked = fewer & torch.stack([part.present[view] for view in heads]).any(dim=0)
        votes = whole.logits[task.name][VOTE], part.logits[task.name][VOTE]
        costs.append(task.weight * symmetric_divergence(*votes, asked, kind=task.kind))
    return torch.stack(costs).sum() if costs else torch.zeros(())


def reconstruction(whole: Output, part: Output, reconstructor: Reconstructor) -> Tensor:
    """Cosine distance between a lost modality's vector and its guess from what `fused` of the part knows.

    Summed over modalities; the vectors of the whole get no gradient.
    """
    guesses = reconstructor(part.embeddings)
    lost = {name: whole.present[name] & ~part.present[name] for name in guesses}
    costs = [cosine_distance(guess, whole.embeddings[name], lost[name]) for name, guess in guesses.items()]
    return torch.stack(costs).sum()


def _lost(whole: Output, part: Output) -> Tensor:
    """[B V] bool: the views that the whole has and the part has not."""
    return torch.stack([there & ~part.present[view] for view, there in whole.present.items()], dim=1)
