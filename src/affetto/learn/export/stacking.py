"""Votes fitted to held-out people: how far each view can be trusted by those whom the encoders do not know by heart.

A vote that learns from the clips that its encoders learnt from trusts them too much. So, where enough people were
held out, delivery fits its exponents to them (stacked generalisation, Wolpert 1992), for each subset of modalities:

    vote = a * sum over modalities of log_softmax(logits_m / T_m) + b * log_softmax(logits_fused / T_fused)

The temperatures T are those of each view alone, and how far the modalities are trusted against each other is theirs
to say: the vote is the product of calibrated experts, and beside it, as far as it helps, what hears them together.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from affetto.evaluation.calibration import fit_strengths, fit_temperature
from affetto.learn.export.calibrate import Labelled, Said, said_by_subset
from affetto.learn.export.parts import Inputs, padded, subsets
from affetto.learn.models.recogniser import VOTE, Recogniser
from affetto.records import Track

_FEWEST = 200  # items: exponents from fewer are noise


def fit_votes(recogniser: Recogniser, items: Sequence[Labelled]) -> None:
    """Set the exponents of each vote that has `trust` to those that serve held-out items best.

    Of single-label tasks, for every subset of several modalities that 200 items have or more; elsewhere what training
    found stays. Where people are known, the harder half of them counts, as in `fit_temperature`.
    """
    items = [item for item in items if len(item.inputs) > 1]
    votes: dict[str, Any] = {
        task: vote
        for task, vote in recogniser.votes.items()
        if hasattr(vote, "trust") and vote.kind == "single-label"
    }
    if not items or not votes:
        return
    runner = _Model(copy.deepcopy(recogniser).cpu().float().eval())
    tracks = [runner.encode(item.inputs) for item in items]
    for task, vote in votes.items():
        several = [subset for subset in subsets(vote.modalities) if len(subset) > 1]
        for said in said_by_subset(task, vote.views, runner, items, tracks, several, _FEWEST):
            vote.trust(said.subset, _exponents(said))


def _exponents(said: Said) -> dict[str, float]:
    """By view: a / T_m for those of modalities, b / T for what hears several."""
    temperatures, log_shares = {}, {}
    for view in said.logits:
        if view != VOTE:
            temperatures[view] = fit_temperature(said.logits[view], said.targets, said.whose(view))
            scaled = torch.from_numpy(said.logits[view]).double() / temperatures[view]
            log_shares[view] = scaled.log_softmax(dim=1).numpy()
    product = np.sum([log_shares[view] for view in said.subset], axis=0)
    together = [view for view in log_shares if view not in said.subset]
    fitted = fit_strengths([product, *(log_shares[v] for v in together)], said.targets, said.whose(VOTE))
    powers = dict.fromkeys(said.subset, fitted[0]) | dict(zip(together, fitted[1:], strict=True))
    return {view: float(power) / temperatures[view] for view, power in powers.items()}


class _Model:
    """The model asked as its parts are."""

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser

    @torch.no_grad()
    def encode(self, item: Inputs) -> dict[str, Track]:
        """One item to encoded Tracks [1 T D] of the modalities that it has."""
        return self._recogniser.encode(
            {
                name: Track(*(torch.from_numpy(rows) for rows in padded([item[name]])))
                for name in item
                if name in self._recogniser.modalities
            }
        )

    @torch.no_grad()
    def fuse(self, tracks: Mapping[str, Track]) -> dict[str, np.ndarray]:
        output = self._recogniser.fuse(tracks)
        return {
            f"{task}.{view}": logits.numpy()
            for task, views in output.logits.items()
            for view, logits in views.items()
        }
