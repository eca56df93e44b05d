"""Prefix: what is heard and seen becomes the first words of a text that a language model reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from affetto.learn.fusion.views import FUSED, UnimodalViews, Views
from affetto.records import Track

#: Families that can be told the place of every step.
_READERS = ("gpt2", "llama", "qwen2", "qwen3", "bert")


class Prefix(nn.Module):
    """fused = W h_last, h = LM([P_s x_s; P_v x_v; words]): speech and vision, [B T D] each, projected into the input
    of a language model, stand before its text (Mokady et al. 2021, "ClipCap"; Tsimpoukelli et al. 2021, "Frozen").
    The last step has read all. Any of them may be absent; padding takes no place.

    With a text encoder of the same model, `layer` 0 and `dim` the model's width, the text arrives as the model's
    own words. `backbone` gives states for `inputs_embeds`. Raises ValueError for a family that cannot be told
    the places of its steps.
    """

    vote = FUSED

    def __init__(self, modalities: tuple[str, ...], dim: int, backbone: Any, *, dropout: float = 0.1) -> None:
        super().__init__()
        if backbone.family not in _READERS:
            raise ValueError(
                f"a {backbone.family} cannot read a prefix: expected one of {', '.join(_READERS)}"
            )
        self.views = (FUSED, *modalities)
        self.modalities, self.dim = modalities, dim
        self.backbone = backbone
        width = backbone.width
        # Words are small numbers: a prefix of another size would drown them.
        table = backbone.model.get_input_embeddings().weight.detach()
        self.projections = nn.ModuleDict(
            {
                name: nn.Identity()
                if name == "text" and dim == width
                else Words(dim, width, float(table.std()))
                for name in modalities
            }
        )
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, dim)
        self.unimodal = UnimodalViews(modalities, dim, dropout=dropout)

    def forward(self, tracks: Mapping[str, Track]) -> Views:
        """Tracks [B T D] by modality; a missing key is an absent modality."""
        heard = self.unimodal(tracks)
        order = sorted(self.modalities, key="text".__eq__)  # the text last
        words = torch.cat([self.projections[name](heard.tracks[name].values) for name in order], dim=1)
        mask = torch.cat([heard.tracks[name].mask for name in order], dim=1)
        states = self._read(words * mask[..., None].to(words.dtype), mask)
        steps = torch.arange(mask.shape[1], device=mask.device)
        last = torch.where(mask, steps, 0).amax(dim=1)
        vector = states.gather(1, last[:, None, None].expand(-1, 1, self.dim))[:, 0]
        return heard.with_fused(vector, Track(states * mask[..., None].to(states.dtype), mask))

    def _read(self, words: Tensor, mask: Tensor) -> Tensor:
        """[B T W] -> [B T D]; places are counted over the real steps alone."""
        places = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
        # A row of nothing attends to its padding, and is masked afterwards.
        seen = mask | ~mask.any(dim=1, keepdim=True)
        states = self.backbone(inputs_embeds=words, attention_mask=seen.long(), position_ids=places)
        return self.out(self.dropout(states))


class Words(nn.Module):
    """States [B T D] as vectors [B T W] of about the size of a language model's words."""

    def __init__(self, dim: int, width: int, size: float) -> None:
        super().__init__()
        self.project = nn.Linear(dim, width)
        self.norm = nn.LayerNorm(width)
        nn.init.constant_(self.norm.weight, size)

    def forward(self, x: Tensor) -> Tensor:
        """[B T D] -> [B T W]."""
        return self.norm(self.project(x))
