"""Vision encoders: pictures [B T 3 S S] in [0, 1] with their mask in, a Track [B T D] out.

Pictures are encoded one by one (a video's faces are T of them); each is first set to mean 0 and deviation 1,
so that neither lighting nor its batch mates matter. Times [B T] that come with them go out with the Track.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from affetto.learn.layers.conv import ConvBlock2d, residual_stages
from affetto.learn.layers.transformer import Transformer
from affetto.records import Track

_STEM_KERNEL = 5
#: ITU-R BT.601: how bright red, green and blue look.
_LUMA = (0.299, 0.587, 0.114)


class PictureFrontEnd(nn.Module):
    """Pictures [B T 3 S S] to a standardised pile [B*T C S S], C = 1 where `grey`; absent ones are zeros."""

    def __init__(self, *, grey: bool) -> None:
        super().__init__()
        self.channels = 1 if grey else 3
        self.grey = grey
        self.register_buffer("luma", torch.tensor(_LUMA).view(1, 3, 1, 1), persistent=False)

    def forward(self, track: Track) -> tuple[Tensor, Tensor]:
        """Returns the pile [N C S S] and its float mask [N 1 1 1], N = B * T."""
        keep = track.mask.flatten()[:, None, None, None]
        x = torch.where(keep, track.values.flatten(0, 1), 0.0)
        if self.grey:
            x = (x * self.get_buffer("luma")).sum(dim=1, keepdim=True)
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        deviation = (x - mean).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        # The floor keeps the noise of a nearly flat picture from being blown up.
        return (x - mean) / deviation.clamp(min=0.05), keep.to(x.dtype)


class ResNet(nn.Module):
    """A small residual net (He et al. 2016) with a mean over the picture at its end: any size goes."""

    rate = None

    def __init__(
        self,
        dim: int,
        *,
        grey: bool = True,
        channels: tuple[int, ...] = (32, 64, 128),
        blocks: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.out_dim = dim
        self.front_end = PictureFrontEnd(grey=grey)
        self.stem = ConvBlock2d(self.front_end.channels, channels[0], _STEM_KERNEL, stride=2)
        self.blocks = nn.ModuleList(residual_stages(channels, blocks))
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(channels[-1], dim)

    def forward(self, track: Track) -> Track:
        """Pixels [B T 3 S S] and mask [B T] bool -> Track [B T D]."""
        x, keep = self.front_end(track)
        x = self.stem(x, keep)
        for block in self.blocks:
            x = block(x, keep)
        return _track(self.out(self.dropout(x.mean(dim=(2, 3)))), track)


class VisionTransformer(nn.Module):
    """Patches of one picture attend to each other (Dosovitskiy et al. 2021), then their mean."""

    rate = None

    def __init__(
        self,
        dim: int,
        *,
        size: int = 48,
        grey: bool = True,
        patch: int = 8,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if size % patch:
            raise ValueError(f"size {size} is not a multiple of the patch {patch}")
        self.out_dim = dim
        self.front_end = PictureFrontEnd(grey=grey)
        self.patches = nn.Conv2d(self.front_end.channels, width, patch, stride=patch)
        self.positions = nn.Parameter(torch.randn(1, (size // patch) ** 2, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.transformer = Transformer(width, heads, layers, dropout=dropout, stochastic_depth=dropout)
        self.out = nn.Linear(width, dim)

    def forward(self, track: Track) -> Track:
        """Pixels [B T 3 S S] and mask [B T] bool -> Track [B T D]."""
        x, keep = self.front_end(track)
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        seen = (keep.flatten(1) > 0).expand(-1, x.shape[1])
        x = self.transformer(self.dropout(x), seen).mean(dim=1)
        return _track(self.out(x), track)


def _track(x: Tensor, track: Track) -> Track:
    """A pile [B*T D] back as a Track [B T D] on the clock of the pictures, zero where absent."""
    x = x.unflatten(0, (track.mask.shape[0], track.mask.shape[1]))
    return Track(x * track.mask[..., None].to(x.dtype), track.mask, track.times)
