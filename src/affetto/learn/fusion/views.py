"""What every fusion gives, and the two things that every fusion needs: absent Tracks and unimodal views."""

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
    """Named views of a batch: one per modality, and `fused` where the form has one.

    vectors: view to [B D].  tracks: view to the Track that it was pooled from.
    present: view to [B] bool; `fused` is present where any modality is.
    weights: [B V], a gate that depends on the input and sums to 1 over the views, or None.
    """

    vectors: Mapping[str, Tensor]
    tracks: Mapping[str, Track]
    present: Mapping[str, Tensor]
    weights: Tensor | None = None


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


def fused_presence(present: Mapping[str, Tensor]) -> Tensor:
    """[B] bool: whether any modality is there."""
    return torch.stack(list(present.values())).any(dim=0)


class UnimodalViews(nn.Module):
    """Each modality's Track pooled by attentive statistics: the views that see one modality alone."""

    def __init__(self, modalities: tuple[str, ...], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.pools = nn.ModuleDict({name: AttentiveStatistics(dim) for name in modalities})
        self.projections = nn.ModuleDict(
            {name: nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * dim, dim)) for name in modalities}
        )

    def forward(self, tracks: Mapping[str, Track]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Vectors [B D] and presence [B] bool, by modality. A Track is needed for each."""
        vectors = {
            name: self.projections[name](pool(tracks[name].values, tracks[name].mask))
            for name, pool in self.pools.items()
        }
        return vectors, {name: tracks[name].mask.any(dim=1) for name in self.pools}


class AbsentVectors(nn.Module):
    """A learned vector stands in for each modality that is not there."""

    def __init__(self, modalities: tuple[str, ...], dim: int) -> None:
        super().__init__()
        self.absent = nn.ParameterDict({name: nn.Parameter(torch.randn(dim) * 0.02) for name in modalities})

    def forward(self, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> list[Tensor]:
        """Per modality, in order: its vector [B D] where present [B], else the stand-in."""
        return [
            torch.where(present[name][:, None], vectors[name], absent) for name, absent in self.absent.items()
        ]
