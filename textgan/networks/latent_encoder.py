"""What of a real image its caption does not say: z of that image, in training only.

A caption leaves open where the thing stands and which shape it has. Held against the one real image of its caption,
a generator with any z can only draw the mean of all images that the caption would suit. With the z of that image it
can draw the image (Larsen et al. 2016; Zhu et al. 2017: cVAE-GAN), and z comes to mean what the words leave open.

N batch, Z latent, D text features
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textgan.networks.layers import LEAK

CHANNELS = 32
GRID = 4
"""The body halves its picture until the smaller side has at most this many cells."""
LOG_VARIANCES = (-6.0, 4.0)
"""Beyond these a z is exact, or noise, for all that the generator can tell."""


def outlines(images: Tensor) -> Tensor:  # [N,3,H,W] -> [N,1,H/4,W/4]
    """Where an image changes, relative to its mean change: its shapes, without colours or light.

    A z that told colours would take from the words what is theirs, and on combinations never seen draw its own.
    """
    across = F.pad((images[..., 1:] - images[..., :-1]).square().sum(dim=1), (0, 1))
    down = F.pad((images[..., 1:, :] - images[..., :-1, :]).square().sum(dim=1), (0, 0, 0, 1))
    edges = F.avg_pool2d((across + down).sqrt()[:, None], 4)
    return edges / (edges.mean(dim=(1, 2, 3), keepdim=True) + 1e-3)


class LatentEncoder(nn.Module):
    """Image and sentence vector -> mean and log variance of z (Kingma and Welling 2014; Sohn et al. 2015)."""

    def __init__(self, width: int, height: int, text_dim: int, z_dim: int) -> None:
        super().__init__()
        rows, columns = height // 4, width // 4
        layers: list[nn.Module] = []
        channels, wide = 1, CHANNELS
        while min(rows, columns) > GRID:
            layers += [nn.Conv2d(channels, wide, 4, 2, 1), nn.LeakyReLU(LEAK)]
            channels, wide, rows, columns = wide, min(2 * wide, 4 * CHANNELS), rows // 2, columns // 2
        self.body = nn.Sequential(*layers)
        self.hidden = nn.Linear(channels * rows * columns + text_dim, 2 * CHANNELS)
        self.out = nn.Linear(2 * CHANNELS, 2 * z_dim)
        nn.init.normal_(self.out.weight, std=0.02)  # begins near the prior
        nn.init.zeros_(self.out.bias)

    def forward(self, images: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:  # [N,3,H,W], [N,D] -> [N,Z], [N,Z]
        seen = self.body(outlines(images)).flatten(1)
        hidden = F.leaky_relu(self.hidden(torch.cat([seen, c], dim=1)), LEAK)
        mean, log_variance = self.out(hidden).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCES)
