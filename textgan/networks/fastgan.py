"""The generator `fastgan`, a light descendant of FastGAN (Liu et al. 2021) and DF-GAN (Tao et al. 2022).

Every layer is normalised by image; there is no batch normalisation, and the costly full-size layers are kept thin.

N batch, Z latent, D text features, S style, C channels
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textgan.networks.generator import Parts
from textgan.networks.layers import LEAK, StyleNorm, conv, pixel_norm, repeat_twice


class StyleMapping(nn.Module):
    """(z, c) -> style: what both give together, and c as it is.

    z is normalised first, as c is already, so that neither drowns the other. What the layers make of a whole sentence
    need not hold for one that names another combination; c itself reaches every layer along a line, word beside word.
    """

    def __init__(self, z_dim: int, text_dim: int, joint_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(z_dim + text_dim, joint_dim), nn.Linear(joint_dim, joint_dim)])

    def forward(self, z: Tensor, c: Tensor) -> Tensor:  # [N,Z], [N,D] -> [N,S]
        joint = torch.cat([pixel_norm(z), c], dim=1)
        for layer in self.layers:
            joint = pixel_norm(F.leaky_relu(layer(joint), LEAK))
        return torch.cat([joint, c], dim=1)


class StyledRGB(nn.Module):
    """Colours, before tanh."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.norm = StyleNorm(channels, style_dim)
        self.conv = conv(channels, 3, gain=0.5)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:  # [N,C,H,W], [N,S] -> [N,3,H,W]
        colours: Tensor = self.conv(self.norm(x, style))
        return colours


def fastgan(z_dim: int, text_dim: int) -> Parts:
    """The style makes the coarsest grid, too."""
    joint_dim = 2 * text_dim
    style_dim = joint_dim + text_dim
    return Parts(
        mapping=partial(StyleMapping, z_dim, text_dim, joint_dim),
        seed_dim=style_dim,
        modulation=partial(StyleNorm, style_dim=style_dim),
        conv=conv,
        gate=None,
        upsample=repeat_twice,
        to_rgb=partial(StyledRGB, style_dim=style_dim),
        squash=torch.tanh,
    )
