"""The generator: one forward pass from z and a sentence vector to an image.

A coarse grid of channels is doubled until it has the size of the image; z and the words, as a style, reach every layer.
Of what parts a generator is made is said by its kind: `fastgan` and `dfgan`.

N batch, Z latent, D text features, S style, C channels
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from textgan.networks.layers import grid_of, repeat_twice, widths_of


@dataclass(frozen=True, slots=True)
class Parts:
    """What one kind of generator is made of."""

    mapping: Callable[[], nn.Module]  # () -> a module ([N,Z], [N,D]) -> [N,S]
    seed_dim: int  # the coarsest grid is made of so many first entries of the style
    modulation: Callable[[int], nn.Module]  # channels -> ([N,C,H,W], [N,S]) -> the same, the style in it
    conv: Callable[..., nn.Conv2d]  # channels before and after, kernel (3) -> one that keeps the size
    gate: float | None  # how far the residual branches are open at first, which is learnt; None: they are open
    upsample: Callable[[Tensor], Tensor]  # [N,C,H,W] -> [N,C,2H,2W]
    to_rgb: Callable[[int], nn.Module]  # channels -> ([N,C,H,W], [N,S]) -> [N,3,H,W]; has a convolution `conv`
    squash: Callable[[Tensor], Tensor] | None  # of the sum of all colours


class Block(nn.Module):
    """Doubles the size: the widening convolution runs before the upsampling, the refining one after it."""

    def __init__(self, in_channels: int, out_channels: int, parts: Parts) -> None:
        super().__init__()
        self.upsample = parts.upsample
        self.modulations = nn.ModuleList([parts.modulation(in_channels), parts.modulation(out_channels)])
        self.widen = parts.conv(in_channels, out_channels)
        self.refine = parts.conv(out_channels, out_channels)
        self.skip = parts.conv(in_channels, out_channels, kernel=1) if in_channels != out_channels else nn.Identity()
        self.gate = None if parts.gate is None else nn.Parameter(torch.full((1,), parts.gate))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:  # [N,Cin,H,W], [N,S] -> [N,Cout,2H,2W]
        y = self.upsample(self.widen(self.modulations[0](x, style)))
        y = self.refine(self.modulations[1](y, style))
        return self.upsample(self.skip(x)) + (y if self.gate is None else self.gate.to(y.dtype) * y)


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
        self.z_dim, self.seed_dim, self.upsample, self.squash = z_dim, parts.seed_dim, parts.upsample, parts.squash
        self.columns, self.rows, doublings = grid_of(width, height)
        widths = widths_of(channels, max_channels, doublings)
        self.mapping = parts.mapping()
        self.seed = nn.Linear(parts.seed_dim, widths[0] * self.rows * self.columns)
        # What a grown one adds to the doubled colours is what they lack, details: blending there would blur them; and
        # it is open at once, for it has less time than the others had.
        finest = replace(parts, upsample=repeat_twice, gate=parts.gate and 1.0) if grown else parts
        kinds = [parts] * (doublings - 1) + [finest]
        self.blocks = nn.ModuleList(Block(*triple) for triple in zip(widths, widths[1:], kinds, strict=False))
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
            colours = colours + self.upsample(self.coarse_rgb(coarse, style))
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
