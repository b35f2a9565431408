"""The generator `dfgan`, after DF-GAN (Tao et al. 2022).

z alone makes the coarsest grid; every layer after it is scaled and shifted by z and the words, and nothing is
normalised. Unlike there, a convolution has one modulation, not two, and sizes are doubled by blending: pixels that were
repeated left a net of dots on photos. There it draws many pictures of a caption where `fastgan` draws a few; on
drawings, whose captions say nearly all, it takes fewer words to combinations that were never seen (`docs/results.md`,
"Photos on a CPU").

N batch, Z latent, D text features, S style, C channels
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textgan.networks.generator import Parts
from textgan.networks.layers import LEAK, blend_twice

HIDDEN = 128
"""Units between a style and the scales and shifts that it gives."""
GATE = 0.2
"""How far the residual branches are open at first; DF-GAN begins at 0 and trains for days."""


class Modulation(nn.Module):
    """Scale and shift by z and the words, then a leaky ReLU.

    What hidden units make of a whole sentence need not hold for one that names another combination: the words also
    act along a line, word beside word.
    """

    def __init__(self, channels: int, z_dim: int, text_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(z_dim + text_dim, HIDDEN)
        self.joint = nn.Linear(HIDDEN, 2 * channels)
        self.words = nn.Linear(text_dim, 2 * channels, bias=False)
        nn.init.uniform_(self.joint.weight, -0.5 * HIDDEN**-0.5, 0.5 * HIDDEN**-0.5)
        nn.init.zeros_(self.joint.bias)
        nn.init.normal_(self.words.weight, std=0.25 * text_dim**-0.5)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:  # [N,C,H,W], [N,S] -> [N,C,H,W]
        affine = self.joint(F.relu(self.hidden(style))) + self.words(style[:, -self.words.in_features :])
        scale, shift = affine[:, :, None, None].chunk(2, dim=1)
        return F.leaky_relu(torch.addcmul(shift, x, 1 + scale), LEAK)


class Beside(nn.Module):
    """(z, c) -> style: both as they are, side by side."""

    def forward(self, z: Tensor, c: Tensor) -> Tensor:  # [N,Z], [N,D] -> [N,S]
        return torch.cat([z, c], dim=1)


class PlainRGB(nn.Module):
    """Colours. No tanh follows, as in StyleGAN2: without normalisation values grow, and where it saturates G hears
    nothing any more."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:  # [N,C,H,W], any -> [N,3,H,W]
        colours: Tensor = self.conv(F.leaky_relu(x, LEAK))
        return colours


def dfgan(z_dim: int, text_dim: int) -> Parts:
    """z alone makes the coarsest grid."""
    return Parts(
        mapping=Beside,
        seed_dim=z_dim,
        modulation=partial(Modulation, z_dim=z_dim, text_dim=text_dim),
        conv=_conv,
        gate=GATE,
        upsample=blend_twice,
        to_rgb=PlainRGB,
        squash=None,
    )


def _conv(in_channels: int, out_channels: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
