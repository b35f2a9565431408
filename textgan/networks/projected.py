"""The discriminator of `projected` (Sauer et al. 2021): it looks through a frozen EfficientNet-Lite.

Random, frozen mixing across channels and scales makes every level show every cue; small trained heads
judge the levels. One more head sees the pixels themselves, folded to the finest level's grid: an
ImageNet network is nearly blind to absolute colour, and captions name colours.

N batch, C channels, H height, W width
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textgan.extractors import STRIDES, load_extractor
from textgan.networks.judgement import Judgement
from textgan.networks.layers import LEAK, bounded, grid_of

GRID = 4
"""Heads reduce their level until its smaller side has at most this many cells."""


class Head(nn.Module):
    """Reduces one level to a coarse grid; one logit a cell, and a vector that keeps places for the words.

    Bounded layers alone shrink what they see; each image is brought back to unit variance on the way. The
    published heads do it by batch norm, which would make an image's judgement depend on its neighbours.
    """

    def __init__(self, in_channels: int, channels: int, rows: int, columns: int, text_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        while min(rows, columns) > GRID:
            layers += [
                bounded(nn.Conv2d(in_channels, channels, 4, 2, 1)),
                nn.GroupNorm(1, channels),
                nn.LeakyReLU(LEAK),
            ]
            in_channels, rows, columns = channels, rows // 2, columns // 2
        layers += [bounded(nn.Conv2d(in_channels, channels, 3, 1, 1)), nn.GroupNorm(1, channels), nn.LeakyReLU(LEAK)]
        self.body = nn.Sequential(*layers)
        self.patch = bounded(nn.Conv2d(channels, 1, 1))
        self.whole = bounded(nn.Linear(channels * rows * columns, channels))
        self.base = bounded(nn.Linear(channels, 1))
        self.vector = nn.Linear(channels, text_dim)

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # [N,C,H,W] -> [N,P], [N,1], [N,D]
        x = self.body(level)
        whole = F.leaky_relu(self.whole(x.flatten(1)), LEAK)
        return self.patch(x).flatten(1), self.base(whole), self.vector(whole)


class ProjectedDiscriminator(nn.Module):
    """Frozen features, frozen random projections, trained heads."""

    def __init__(
        self,
        width: int,
        height: int,
        text_dim: int,
        extractor: str,  # lite0, lite1 or lite2
        extractor_px: int,  # smaller side of what the frozen network sees
        channels: int,  # of every projected level and head
        seed: int,  # of the projections
        pretrained: bool,  # False: random features, an ablation
    ) -> None:
        super().__init__()
        scale = extractor_px / min(width, height)
        self.size = (round(height * scale), round(width * scale))
        self.net = load_extractor(extractor, seed=None if pretrained else seed)
        levels = self.net.pyramid_channels
        generator = torch.Generator().manual_seed(seed)
        for idx, wide in enumerate(levels):
            self._projection(f"across_channels_{idx}", channels, wide, 1, generator)
            if idx < len(levels) - 1:
                self._projection(f"across_scales_{idx}", channels, channels, 3, generator)
        self.register_buffer("level_scale", torch.ones(len(levels)))
        grids = [(-(-self.size[0] // stride), -(-self.size[1] // stride)) for stride in STRIDES]
        self.fold = 2 ** (grid_of(width, height)[2] - 2)
        raw = (height // self.fold, width // self.fold)
        self.heads = nn.ModuleList(Head(channels, channels, rows, columns, text_dim) for rows, columns in grids)
        self.heads.append(Head(3 * self.fold**2, channels, *raw, text_dim))

    def train(self, mode: bool = True) -> ProjectedDiscriminator:
        """The heads alone: the loop switches twice a step, and the frozen network has hundreds of modules."""
        self.training = mode
        self.heads.train(mode)
        return self

    def _projection(self, name: str, out: int, into: int, kernel: int, generator: torch.Generator) -> None:
        weight = torch.randn(out, into, kernel, kernel, generator=generator) * (into * kernel**2) ** -0.5
        self.register_buffer(name, weight)

    def _pyramid(self, images: Tensor) -> list[Tensor]:
        if self.size != tuple(images.shape[2:]):
            images = F.interpolate(images, self.size, mode="bilinear", antialias=min(self.size) < min(images.shape[2:]))
        return self.net.pyramid(images)

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:  # [N,3,H,W]
        """Bring every level to unit mean square on real images, so that no level drowns the others."""
        for idx, level in enumerate(self._pyramid(images)):
            self.level_scale[idx] = level.square().mean().rsqrt()  # type: ignore[operator]

    def features(self, images: Tensor) -> list[Tensor]:  # [N,3,H,W] in [-1,1] -> four levels and the folded pixels
        """What the heads see; no parameter that is trained takes part, so that it can be kept for real images."""
        levels = self._pyramid(images)
        scales = self.level_scale
        mixed: list[Tensor] = []
        for idx in reversed(range(len(levels))):  # from coarse to fine
            x = F.conv2d(levels[idx] * scales[idx], getattr(self, f"across_channels_{idx}"))  # type: ignore[index]
            if mixed:
                above = F.interpolate(mixed[0], x.shape[2:], mode="nearest")
                x = (x + F.conv2d(above, getattr(self, f"across_scales_{idx}"), padding=1)) * 0.5**0.5
            mixed.insert(0, x)
        folded = F.pixel_unshuffle(images, self.fold).contiguous(memory_format=torch.channels_last)
        return [*mixed, folded * 2]

    def forward(self, features: list[Tensor]) -> Judgement:
        """Judge what `features` gave."""
        views = [head(level) for head, level in zip(self.heads, features, strict=True)]
        return Judgement(
            patches=torch.cat([view[0] for view in views], dim=1),
            base=torch.cat([view[1] for view in views], dim=1),
            vectors=torch.stack([view[2] for view in views], dim=1),
        )
