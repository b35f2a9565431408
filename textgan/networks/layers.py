"""The small parts that both networks are built from.

N batch, C channels, H height, W width, S style (the joint latent of z and text)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

LEAK = 0.2


def pixel_norm(x: Tensor) -> Tensor:  # [N,C,...] -> [N,C,...]
    """Unit mean square over channels at every place (Karras et al. 2018): no statistics that could drift under EMA."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


def repeat_twice(x: Tensor) -> Tensor:  # [N,C,H,W] -> [N,C,2H,2W]
    """Twice the size, nearest neighbour."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def blend_twice(x: Tensor) -> Tensor:  # [N,C,H,W] -> [N,C,2H,2W]
    """Twice the size, bilinear: the filter 1 3 3 1 of StyleGAN2 (Karras et al. 2020)."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def conv(in_channels: int, out_channels: int, kernel: int = 3, gain: float = 1.0) -> nn.Conv2d:
    """A convolution that keeps the size, orthogonally initialised."""
    layer = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def bounded(layer: nn.Module) -> nn.Module:
    """The layer with its spectral norm held at one (Miyato et al. 2018)."""
    return spectral_norm(layer)


def is_spectral_norm(module: nn.Module) -> bool:
    """Whether this is what `bounded` puts before a weight; its class has no public name."""
    return type(module).__name__ == "_SpectralNorm"


class StyleNorm(nn.Module):
    """Unit mean square of each image, then scale and shift by the style, then a leaky ReLU.

    Here z and the words enter every layer. One number an image is cheaper than one a place and keeps contrast.
    """

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style_dim, 2 * channels)
        nn.init.normal_(self.affine.weight, std=0.5 * style_dim**-0.5)
        nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:  # [N,C,H,W], [N,S] -> [N,C,H,W]
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, dim=1)
        size = torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True) * x[0].numel() ** -0.5
        return F.leaky_relu(torch.addcmul(shift, x, (1 + scale) / (size + 1e-4)), LEAK)


def grid_of(width: int, height: int) -> tuple[int, int, int]:
    """The coarsest grid of a generator: (columns, rows, doublings) with columns * 2**doublings = width.

    512 x 384 is 4 x 3 doubled seven times. Raises ValueError where more than 16 cells would remain on a side.
    """
    columns, rows, doublings = width, height, 0
    while columns % 2 == 0 and rows % 2 == 0 and min(columns, rows) // 2 >= 3:
        columns, rows, doublings = columns // 2, rows // 2, doublings + 1
    if max(columns, rows) > 16 or doublings < 2:
        raise ValueError(
            f"{width}x{height} cannot be built: halving it ends at {columns}x{rows};"
            " width and height must be a grid of at most 16 cells a side, doubled at least twice (64x64, 512x384)"
        )
    return columns, rows, doublings


def widths_of(channels: int, max_channels: int, doublings: int) -> list[int]:
    """Channels of a generator's levels, from the coarsest grid to the full size: half as many at each doubling."""
    return [min(max_channels, channels * 2 ** (doublings - level)) for level in range(doublings + 1)]
