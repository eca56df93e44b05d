"""What every fusion gives, and what most of them begin with: unimodal views, stand-ins, a map per modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from affetto.learn.layers.pooling import AttentiveStatistics
from affetto.records import Track

#: The name of the view that has seen all modalities.
FUSED = "fused"


@dataclass(frozen=True)
class Views:
    """Named views of a batch: one per modality, and `fused` where the form has one. V counts them.

    vectors: view to [B D].  tracks: view to the Track that it was pooled from.
    present: view to [B] bool; `fused` is present where any modality is.
    weights: [B V], a gate that depends on the input and sums to 1 over the views, or None.
    """

    vectors: Mapping[str, Tensor]
    tracks: Mapping[str, Track]
    present: Mapping[str, Tensor]
    weights: Tensor | None = None

    @property
    def stacked(self) -> Tensor:
        """The vectors in order, [B V D]."""
        return torch.stack(list(self.vectors.values()), dim=1)

    @property
    def there(self) -> Tensor:
        """Which views are present, in order, [B V] bool."""
        return torch.stack(list(self.present.values()), dim=1)

    def with_fused(self, vector: Tensor, track: Track, shares: Tensor | None = None) -> Views:
        """These views of the modalities behind a `fused` one.

        vector: [B D]; track: [B T D], what it was pooled from; shares: [B M], how much of each modality is in
        it, for a form that knows: they become the weights, and `fused`, the mixture itself, has weight 0.
        """
        anything = self.there.any(dim=1)
        weights = None if shares is None else torch.cat([torch.zeros_like(shares[:, :1]), shares], dim=1)
        track = Track(track.values, track.mask & anything[:, None], track.times)
        return Views(
            {FUSED: vector, **self.vectors},
            {FUSED: track, **self.tracks},
            {FUSED: anything, **self.present},
            weights,
        )


def with_absent(tracks: Mapping[str, Track], modalities: tuple[str, ...], dim: int) -> dict[str, Track]:
    """A Track for every modality, in order: one that is missing becomes a single step that is not real.

    Raises ValueError when `tracks` has none of the modalities: the batch size is then unknown.
    """
    known = [tracks[name] for name in modalities if name in tracks]
    if not known:
        raise ValueError(f"no Track at all: expected at least one of {', '.join(modalities)}")
    values = known[0].values
    absent = Track(
        values.new_zeros(values.shape[0], 1, dim),
        torch.zeros(values.shape[0], 1, dtype=torch.bool, device=values.device),
    )
    return {name: tracks.get(name, absent) for name in modalities}


class UnimodalViews(nn.Module):
    """Each modality's Track pooled by attentive statistics: the views that see one modality alone."""

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.modalities = modalities
        self.dim = dim
        self.pools = nn.ModuleDict({name: AttentiveStatistics(dim) for name in modalities})
        self.projections = nn.ModuleDict(
            {name: nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * dim, dim)) for name in modalities}
        )

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; one that is missing becomes a step that is not real, see `with_absent`."""
        tracks = with_absent(tracks, self.modalities, self.dim)
        vectors = {
            name: self.projections[name](pool(tracks[name].values, tracks[name].mask))
            for name, pool in self.pools.items()
        }
        return Views(vectors, tracks, {name: track.mask.any(dim=1) for name, track in tracks.items()})


class AbsentVectors(nn.Module):
    """A learned vector stands in for each modality that is not there."""

    def __init__(self, modalities: tuple[str, ...], dim: int) -> None:
        super().__init__()
        self.absent = nn.ParameterDict({name: nn.Parameter(torch.randn(dim) * 0.02) for name in modalities})

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """x: [B .. M D] where its modality is there, [B .. M] bool, else the stand-in."""
        return torch.where(there[..., None], x, torch.stack(list(self.absent.values())))


class PerModality(nn.Module):
    """A linear map of its own for each modality: [B M D] -> [B M out]."""

    def __init__(self, modalities: tuple[str, ...], dim: int, out: int) -> None:
        super().__init__()
        self.maps = nn.ModuleDict({name: nn.Linear(dim, out) for name in modalities})

    def forward(self, x: Tensor) -> Tensor:
        """[B M D] -> [B M out]."""
        return torch.stack([map_(v) for map_, v in zip(self.maps.values(), x.unbind(1), strict=True)], dim=1)
