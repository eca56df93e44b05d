"""Mixup: two clips made into one, with a target made of both (Zhang et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from affetto.records import Batch, Track


def mixup(batch: Batch, alpha: float) -> Batch:
    """Each row mixed with another: media and targets alike, by one share drawn from Beta(alpha, alpha).

    Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization". Waveforms and pictures add up, words do
    not: a batch that holds text comes back as it is (`mix_tracks` mixes text too). Rows are mixed where both
    have the same modalities and the same tasks' labels.
    """
    if alpha <= 0.0 or "text" in batch.inputs:
        return batch
    other, alike = _partners(batch.inputs, batch)
    share = torch.where(alike, _drawn(alpha), 1.0)
    inputs = {name: _mixed(track, other, share) for name, track in batch.inputs.items()}
    return replace(batch, inputs=inputs, targets=_targets(batch, other, share))


def mix_tracks(
    tracks: Mapping[str, Track], batch: Batch, alpha: float
) -> tuple[Mapping[str, Track], Mapping[str, Tensor]]:
    """Each row's encoded Tracks [B T D] mixed with another row's, each modality by a share of its own.

    Mixing what layers have made is Verma et al. 2019, "Manifold Mixup"; a share per modality makes it cross
    modalities: a row may keep its own voice and take most of another's words. The target gives each clip the
    mean of its shares over the modalities that are there. Rows are mixed as in `mixup`; steps keep the times
    of the row, where it has a step. Returns the Tracks and the targets.
    """
    if alpha <= 0.0:
        return tracks, batch.targets
    other, alike = _partners(tracks, batch)
    mixed: dict[str, Track] = {}
    there = kept = alike.new_zeros(len(alike), dtype=torch.float32)
    for name, track in tracks.items():
        share = torch.where(alike, _drawn(alpha), 1.0)
        mixed[name] = _mixed(track, other, share)
        present = track.mask.any(dim=1).float()
        there, kept = there + present, kept + present * share
    return mixed, _targets(batch, other, torch.where(there > 0, kept / there.clamp(min=1.0), 1.0))


def _drawn(alpha: float) -> float:
    return float(torch.distributions.Beta(alpha, alpha).sample())


def _partners(tracks: Mapping[str, Track], batch: Batch) -> tuple[Tensor, Tensor]:
    """For each row another [B], and whether both have the same modalities and labels [B] bool."""
    masks = [track.mask.any(dim=1) for track in tracks.values()]
    masks += [mask.to(masks[0].device) for mask in batch.target_mask.values()]
    other = torch.randperm(len(masks[0]), device=masks[0].device)
    return other, torch.stack([mask == mask[other] for mask in masks]).all(dim=0)


def _mixed(track: Track, other: Tensor, share: Tensor) -> Track:
    """Rows with their partners': a step is real where either row has one and the rows are mixed."""
    theirs = track.mask[other] & _over(share < 1.0, track.mask)
    times = track.times
    if times is not None:
        times = torch.where(track.mask, times, times[other])
    return Track(_mix(track.values, other, share), track.mask | theirs, times)


def _targets(batch: Batch, other: Tensor, share: Tensor) -> dict[str, Tensor]:
    return {name: _mix(values, other, share) for name, values in batch.targets.items()}


def _mix(values: Tensor, other: Tensor, share: Tensor) -> Tensor:
    share = _over(share.to(values), values)
    return share * values + (1.0 - share) * values[other]


def _over(rows: Tensor, values: Tensor) -> Tensor:
    """[B] with as many dimensions of one as `values` has more."""
    return rows.reshape(-1, *[1] * (values.ndim - 1))
