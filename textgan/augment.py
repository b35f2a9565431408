"""Differentiable augmentation without colour operations: captions name colours (Zhao et al. 2020).

Nothing is mirrored either: captions say left and right. N batch, H height, W width
"""

from __future__ import annotations

import torch
from torch import Tensor

TRANSLATION = 0.08
"""Part of each side by which a picture may move: less than what would change its side or framing."""
CUTOUT = 0.4
"""Side of the hidden rectangle as a part of each side of the picture."""


def draw_augmentation(num: int, generator: torch.Generator) -> Tensor:  # -> [N,4] uniform numbers
    """The random numbers of `augment`, drawn on the CPU for the whole batch, whatever the device or rank."""
    return torch.rand(num, 4, generator=generator)


def augment(images: Tensor, policy: str, numbers: Tensor) -> Tensor:  # [N,3,H,W], [N,4] -> [N,3,H,W]
    """`none`, `translate`, or `translate_cutout`; gradients reach the images."""
    if policy == "none":
        return images
    rows, columns = images.shape[2:]
    numbers = numbers.to(images.device)
    row = torch.arange(rows, device=images.device)[None, :, None]
    column = torch.arange(columns, device=images.device)[None, None, :]
    down = ((numbers[:, 0] * 2 - 1) * TRANSLATION * rows).round().long()[:, None, None]
    right = ((numbers[:, 1] * 2 - 1) * TRANSLATION * columns).round().long()[:, None, None]
    # The border is repeated rather than filled with zeros: black would be taken for a background colour.
    source = (row - down).clamp(0, rows - 1) * columns + (column - right).clamp(0, columns - 1)  # [N,H,W]
    index = source.flatten(1)[:, None, :].expand(-1, images.shape[1], -1)
    moved = images.flatten(2).gather(2, index).unflatten(2, (rows, columns))
    if policy == "translate":
        return moved
    height, width = round(CUTOUT * rows), round(CUTOUT * columns)
    top = (numbers[:, 2] * (rows - height)).long()[:, None, None]
    left = (numbers[:, 3] * (columns - width)).long()[:, None, None]
    hidden = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
    return moved.masked_fill(hidden[:, None], 0.0)
