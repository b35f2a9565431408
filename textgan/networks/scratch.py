"""The discriminator of `scratch`: one stage, no pretrained part, after DF-GAN (Tao et al. 2022).

N batch, C channels, H height, W width
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textgan.networks.judgement import Judgement
from textgan.networks.layers import LEAK, conv, grid_of
from textgan.networks.projected import Head


class DownBlock(nn.Module):
    """Halves the size; a learnt scale opens the residual branch (Tao et al. 2022)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(in_channels, out_channels, 4, 2, 1), conv(out_channels, out_channels)])
        self.skip = conv(in_channels, out_channels, kernel=1)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:  # [N,Cin,H,W] -> [N,Cout,H/2,W/2]
        y = F.leaky_relu(self.convs[0](x), LEAK)
        y = F.leaky_relu(self.convs[1](y), LEAK)
        return self.skip(F.avg_pool2d(x, 2)) + self.gate * y


class ScratchDiscriminator(nn.Module):
    """Judges the pixels; the same answers as the projected one, so that losses and loop are shared."""

    def __init__(self, width: int, height: int, text_dim: int, channels: int, max_channels: int) -> None:
        super().__init__()
        columns, rows, doublings = grid_of(width, height)
        widths = [min(max_channels, channels * 2**level) for level in range(doublings + 1)]
        self.first = conv(3, widths[0])
        pairs = zip(widths, widths[1:], strict=False)
        self.blocks = nn.Sequential(*(DownBlock(before, after) for before, after in pairs))
        self.head = Head(widths[-1], widths[-1], rows, columns, text_dim)

    def calibrate(self, images: Tensor) -> None:
        """Nothing is frozen here, so nothing is scaled."""

    def features(self, images: Tensor) -> list[Tensor]:  # [N,3,H,W] -> the images
        """What is judged: the pixels themselves."""
        return [images.contiguous(memory_format=torch.channels_last)]

    def forward(self, features: list[Tensor]) -> Judgement:
        """Judge what `features` gave."""
        patches, base, vector = self.head(self.blocks(self.first(features[0])))
        return Judgement(patches, base, vector.unsqueeze(1))
