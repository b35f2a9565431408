"""The generator: one forward pass from z and a sentence vector to an image.

A coarse grid of channels is doubled until it has the size of the image; z and the words, as a style, reach every layer.
Of what parts a generator is made is said by its kind: `fastgan` and `dfgan`.

N batch, Z latent, D text features, S style, C channels
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textgan.networks.layers import grid_of, upsample, widths_of


@dataclass(frozen=True, slots=True)
class Parts:
    """What one kind of generator is made of."""

    mapping: Callable[[], nn.Module]  # () -> a module ([N,Z], [N,D]) -> [N,S]
    seed_dim: int  # the coarsest grid is made of so many first entries of the style
    block: Callable[[int, int], nn.Module]  # channels before and after -> ([N,Cin,H,W], [N,S]) -> [N,Cout,2H,2W]
    to_rgb: Callable[[int], nn.Module]  # channels -> ([N,C,H,W], [N,S]) -> [N,3,H,W]; has a convolution `conv`
    squash: Callable[[Tensor], Tensor] | None  # of the sum of all colours


class Generator(nn.Module):
    """Images of width x height, about [-1, 1]; what lies beyond is cut off where they become bytes.

    One that has `grown` adds its last block's colours to those of the half size, as StyleGAN2's generator does at every
    size (Karras et al. 2020, figure 7b).
    """

    def __init__(
        self,
        width: int,
        height: int,
        z_dim: int,  # size of the input latent
        channels: int,  # at the full size; every coarser level has twice as many
        max_channels: int,  # but never more than these
        parts: Parts,
        grown: bool = False,
    ) -> None:
        super().__init__()
        self.z_dim, self.seed_dim, self.squash = z_dim, parts.seed_dim, parts.squash
        self.columns, self.rows, doublings = grid_of(width, height)
        widths = widths_of(channels, max_channels, doublings)
        self.mapping = parts.mapping()
        self.seed = nn.Linear(parts.seed_dim, widths[0] * self.rows * self.columns)
        self.blocks = nn.ModuleList(parts.block(*pair) for pair in zip(widths, widths[1:], strict=False))
        self.to_rgb = parts.to_rgb(widths[-1])
        self.coarse_rgb = parts.to_rgb(widths[-2]) if grown else None

    def forward(self, z: Tensor, c: Tensor) -> Tensor:  # [N,Z], [N,D] -> [N,3,height,width]
        return self.synthesise(self.mapping(z, c))

    def synthesise(self, style: Tensor) -> Tensor:  # [N,S] -> [N,3,height,width]
        """The image of a style."""
        x = self.seed(style[:, : self.seed_dim]).unflatten(1, (-1, self.rows, self.columns))
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            coarse, x = x, block(x, style)
        colours: Tensor = self.to_rgb(x, style)
        if self.coarse_rgb is not None:
            colours = colours + upsample(self.coarse_rgb(coarse, style))
        return colours if self.squash is None else self.squash(colours)

    @torch.no_grad()
    def grow_from(self, half: Generator) -> None:
        """Begin where `half` ended, its image doubled: every part it has is taken over, the last block adds nothing."""
        assert self.coarse_rgb is not None, "built without its colours of the half size"
        known = {name: value for name, value in half.state_dict().items() if not name.startswith("to_rgb.")}
        self.load_state_dict(known, strict=False)
        self.coarse_rgb.load_state_dict(half.to_rgb.state_dict())
        for weight in self.to_rgb.conv.parameters():  # type: ignore[union-attr]
            weight.zero_()
