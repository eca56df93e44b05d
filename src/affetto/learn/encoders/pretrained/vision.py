"""Pictures through a pretrained model: each alone (ResNet, ViT, CLIP, DINOv2), or as a film (VideoMAE)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affetto.learn.encoders.pretrained.backbone import Backbone, pooled
from affetto.records import Track

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, where no processor says


class PretrainedVision(nn.Module):
    """Pixels [B T 3 S S] in [0, 1] to a Track [B T D]: a step per picture, on the pictures' own clock.

    VideoMAE reads pictures in turns of its fixed length, the last real one repeated to fill the last turn. Its
    steps are tubelets, of two pictures as a rule, at the mean of their times. Real pictures come first.

    Raises ValueError for another layer of a ResNet than the last.
    """

    rate = None

    def __init__(self, dim: int, backbone: Backbone, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.out_dim = dim
        self.backbone = backbone
        processor, config = backbone.form["processor"], backbone.config
        size = getattr(config, "image_size", None)
        self.size = int(size[0] if isinstance(size, (list, tuple)) else size) if size else None
        for name, values in (("mean", _MEAN), ("std", _DEVIATION)):
            values = processor.get(f"image_{name}", values)
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        if backbone.family == "resnet" and backbone.layer != -1:
            raise ValueError(
                "layer: the stages of a ResNet differ in size, so that only the last (-1) can be read"
            )
        self.film = backbone.family == "videomae"
        self.tubelet = int(config.tubelet_size) if self.film else 1
        self.pooling = backbone.pooling or "mean"
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Identity() if backbone.width == dim else nn.Linear(backbone.width, dim)

    def forward(self, track: Track) -> Track:
        """Pixels [B T 3 S S] and mask [B T] bool -> Track [B T D]."""
        pictures = self._prepared(track)
        if self.film:
            states, mask = self._film(pictures, track.mask)
        else:
            states, mask = self._each(pictures).unflatten(0, (track.mask.shape[0], -1)), track.mask
        values = self.out(self.dropout(states)) * mask[..., None].to(states.dtype)
        return Track(values, mask, self._times(track))

    def _prepared(self, track: Track) -> Tensor:
        """[B T 3 S S] -> [B*T 3 S' S'], as the model saw pictures in its training; black where there is none."""
        x = torch.where(track.mask[..., None, None, None], track.values, 0.0).flatten(0, 1)
        if self.size is not None:
            x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return (x - self.get_buffer("mean")) / self.get_buffer("std")

    def _each(self, pictures: Tensor) -> Tensor:
        """[N 3 S S] -> [N W]."""
        states = self.backbone(pixel_values=pictures)
        if states.ndim == 4:  # a map [N W H' W'] of a convolutional net
            return states.mean(dim=(2, 3))
        everywhere = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return pooled(states, everywhere, self.pooling)[0][:, 0]

    def _film(self, pictures: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B*T 3 S S] and mask [B T] -> a step per tubelet [B T' W] and its mask."""
        length = int(self.backbone.config.num_frames)
        film = pictures.unflatten(0, (mask.shape[0], -1))
        last = (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)
        mask = F.pad(mask, (0, -mask.shape[1] % length))
        shown = torch.minimum(torch.arange(mask.shape[1], device=mask.device)[None], last)
        rows = torch.arange(mask.shape[0], device=mask.device)[:, None]
        turns = film[rows, shown].unflatten(1, (-1, length)).flatten(0, 1)
        states = self.backbone(pixel_values=turns).unflatten(1, (length // self.tubelet, -1)).mean(dim=2)
        return states.unflatten(0, (mask.shape[0], -1)).flatten(1, 2), _tubelets(mask, self.tubelet).any(
            dim=2
        )

    def _times(self, track: Track) -> Any:
        if track.times is None or not self.film:
            return track.times
        missing = -track.mask.shape[1] % int(self.backbone.config.num_frames)
        last = track.times[:, -1:].expand(-1, missing)
        return _tubelets(torch.cat([track.times, last], dim=1), self.tubelet).mean(dim=2)


def _tubelets(x: Tensor, size: int) -> Tensor:
    """[B T] -> [B T/size size]."""
    return x.unflatten(1, (-1, size))
