"""Text through a pretrained model: an encoder such as BERT, or a language model such as GPT-2."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from affetto.learn.encoders.pretrained.backbone import Backbone, pooled
from affetto.learn.encoders.pretrained.source import DECODERS
from affetto.records import Track


class PretrainedText(nn.Module):
    """Token ids of the backbone's own tokenizer to a Track [B T D], one step per token, or one for all.

    Where the backbone is as wide as the Track, its states pass as they are. Of layer 0 only the table of
    embeddings is kept. Raises ValueError when `max_tokens` is more than the backbone has positions.
    """

    rate = None

    def __init__(self, dim: int, backbone: Backbone, *, max_tokens: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        longest = getattr(backbone.config, "max_position_embeddings", max_tokens)
        if max_tokens > longest:
            raise ValueError(f"max_tokens {max_tokens}: the backbone reads at most {longest}")
        self.out_dim = dim
        self.backbone = backbone
        if backbone.layer == 0:
            backbone.keep_embeddings()
        self.pooling = backbone.pooling or ("last" if backbone.family in DECODERS else "steps")
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Identity() if backbone.width == dim else nn.Linear(backbone.width, dim)

    @property
    def vocab_size(self) -> int:
        """Ids from 0 to below this have an embedding."""
        return int(self.backbone.config.vocab_size)

    @property
    def embedding(self) -> nn.Module:
        """The table of token embeddings."""
        return self.backbone.model.get_input_embeddings()  # type: ignore[operator]

    def forward(self, track: Track) -> Track:
        """Ids [B T] int64 and mask [B T] bool -> Track [B T D], or [B 1 D] where the steps are pooled."""
        ids = torch.where(track.mask, track.values, torch.zeros_like(track.values))
        if self.backbone.layer == 0:
            states = self.embedding(ids)
        else:
            states = self.backbone(input_ids=ids, attention_mask=track.mask.long())
        values, mask = pooled(states, track.mask, self.pooling)
        values = self.out(self.dropout(values)) * mask[..., None].to(values.dtype)
        return replace(
            track, values=values, mask=mask, times=track.times if self.pooling == "steps" else None
        )
