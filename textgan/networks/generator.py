"""The generator `fastgan`: one forward pass from z and a sentence vector to an image.

A light descendant of FastGAN (Liu et al. 2021) and DF-GAN (Tao et al. 2022): z and the words enter
every layer, there is no batch normalisation, and the costly full-size layers are kept thin.

N batch, Z latent, D text features, S style, C channels
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textgan.networks.layers import LEAK, StyleNorm, conv, grid_of, pixel_norm, upsample, widths_of


class StyleMapping(nn.Module):
    """(z, c) -> style: what both give together, and c as it is.

    z is normalised first, as c is already, so that neither drowns the other. What the layers make of a whole sentence
    need not hold for one that names another combination; c itself reaches every layer along a line, word beside word.
    """

    def __init__(self, z_dim: int, text_dim: int, joint_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(z_dim + text_dim, joint_dim), nn.Linear(joint_dim, joint_dim)])
        self.style_dim = joint_dim + text_dim

    def forward(self, z: Tensor, c: Tensor) -> Tensor:  # [N,Z], [N,D] -> [N,S]
        joint = torch.cat([pixel_norm(z), c], dim=1)
        for layer in self.layers:
            joint = pixel_norm(F.leaky_relu(layer(joint), LEAK))
        return torch.cat([joint, c], dim=1)


class GeneratorBlock(nn.Module):
    """Doubles the size: the widening convolution runs before the upsampling, the refining one after it."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([StyleNorm(in_channels, style_dim), StyleNorm(out_channels, style_dim)])
        self.convs = nn.ModuleList([conv(in_channels, out_channels), conv(out_channels, out_channels)])
        self.skip = conv(in_channels, out_channels, kernel=1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:  # [N,Cin,H,W], [N,S] -> [N,Cout,2H,2W]
        y = upsample(self.convs[0](self.norms[0](x, style)))
        y = self.convs[1](self.norms[1](y, style))
        return y + upsample(self.skip(x))


class Generator(nn.Module):
    """Images of width x height in [-1, 1]."""

    def __init__(
        self,
        width: int,
        height: int,
        z_dim: int,  # size of the input latent
        text_dim: int,  # size of the sentence vector
        channels: int,  # at the full size; every coarser level has twice as many
        max_channels: int,  # but never more than these
    ) -> None:
        super().__init__()
        self.z_dim, self.text_dim = z_dim, text_dim
        self.columns, self.rows, doublings = grid_of(width, height)
        widths = widths_of(channels, max_channels, doublings)
        self.mapping = StyleMapping(z_dim, text_dim, 2 * text_dim)
        style_dim = self.mapping.style_dim
        self.seed = nn.Linear(style_dim, widths[0] * self.rows * self.columns)
        self.blocks = nn.ModuleList(
            GeneratorBlock(before, after, style_dim) for before, after in zip(widths, widths[1:], strict=False)
        )
        self.last = StyleNorm(widths[-1], style_dim)
        self.to_rgb = conv(widths[-1], 3, gain=0.5)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:  # [N,Z], [N,D] -> [N,3,height,width]
        return self.synthesise(self.mapping(z, c))

    def synthesise(self, style: Tensor) -> Tensor:  # [N,S] -> [N,3,height,width]
        """The image of a style."""
        x = self.seed(style).unflatten(1, (-1, self.rows, self.columns))
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, style)
        return torch.tanh(self.to_rgb(self.last(x, style)))
