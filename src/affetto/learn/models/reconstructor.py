"""What a missing modality would have looked like, guessed from what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from affetto.learn.fusion import FUSED


class Reconstructor(nn.Module):
    """For each modality a small network from the fused vector to the modality's own view vector.

    As in Zhao et al. 2021, "Missing Modality Imagination Network". It is there for training alone: the fused
    vector of a part of the modalities has to keep what foretells the rest.
    """

    def __init__(self, modalities: Sequence[str], dim: int) -> None:
        super().__init__()
        self.decoders = nn.ModuleDict(
            {
                name: nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
                for name in modalities
            }
        )

    def forward(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """embeddings: view to [B D], `fused` among them. Returns a guess [B D] for each modality."""
        return {name: decoder(embeddings[FUSED]) for name, decoder in self.decoders.items()}
