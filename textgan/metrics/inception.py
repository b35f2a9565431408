"""The Inception network of published FID numbers, from a weights file that the user supplies.

Szegedy et al. 2015 (the network), Heusel et al. 2017 (its use). The TensorFlow graph of 2015-12-05 as carried over to
PyTorch state dicts (`pt_inception-2015-12-05-6726825d.pth`): average pools do not count the padding, the last block
pools by maximum, pictures are resized as TensorFlow 1 did, without antialiasing. Batch normalisation is folded in.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from textgan.errors import UserError

INPUT_PX = 299
BN_EPS = 1e-3
STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
_DOUBLE = ("branch3x3dbl_1", "branch3x3dbl_2")
BRANCHES = {
    "a": ("branch1x1", "branch5x5_1", "branch5x5_2", *_DOUBLE, "branch3x3dbl_3", "branch_pool"),
    "b": ("branch3x3", *_DOUBLE, "branch3x3dbl_3"),
    "c": (
        "branch1x1", "branch7x7_1", "branch7x7_2", "branch7x7_3", "branch7x7dbl_1", "branch7x7dbl_2",
        "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5", "branch_pool",
    ),
    "d": ("branch3x3_1", "branch3x3_2", "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"),
    "e": (
        "branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b", *_DOUBLE, "branch3x3dbl_3a", "branch3x3dbl_3b",
        "branch_pool",
    ),
}  # fmt: skip
"""Convolutions of each sort of block, by their names in the file."""
BLOCKS = {
    "Mixed_5b": "a", "Mixed_5c": "a", "Mixed_5d": "a", "Mixed_6a": "b", "Mixed_6b": "c", "Mixed_6c": "c",
    "Mixed_6d": "c", "Mixed_6e": "c", "Mixed_7a": "d", "Mixed_7b": "e", "Mixed_7c": "e",
}  # fmt: skip
CONVOLUTIONS = (*STEM, *(f"{block}.{branch}" for block, sort in BLOCKS.items() for branch in BRANCHES[sort]))
_VALID = {"Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_4a_3x3"}
"""Without padding at stride 1; every strided one is, too."""


class Inception:
    """Frozen; widths are those of the weights."""

    def __init__(self, state: dict[str, Tensor], file: str) -> None:
        """Raises UserError where the weights are another network's."""
        names = [f"{name}.{part}" for name in CONVOLUTIONS for part in ("conv.weight", "bn.weight", "bn.running_mean")]
        missing = [name for name in names if name not in state]
        if missing:
            raise UserError(f"{file}: not the Inception of FID: {len(missing)} tensors are missing ({missing[0]})")
        self.weights: dict[str, tuple[Tensor, Tensor]] = {}
        for name in CONVOLUTIONS:
            scale = state[f"{name}.bn.weight"] / (state[f"{name}.bn.running_var"] + BN_EPS).sqrt()
            weight = state[f"{name}.conv.weight"] * scale[:, None, None, None]
            bias = state[f"{name}.bn.bias"] - state[f"{name}.bn.running_mean"] * scale
            self.weights[name] = (weight.float().contiguous(memory_format=torch.channels_last), bias.float())

    def stem(self, images: Tensor) -> Tensor:  # uint8 [N,H,W,3] -> [N,64,73,73]
        """Up to the first pool."""
        x = resize_like_tensorflow(images.permute(0, 3, 1, 2).float(), INPUT_PX)
        x = ((x - 128) / 128).contiguous(memory_format=torch.channels_last)
        x = self._conv(x, "Conv2d_1a_3x3", stride=2)
        return F.max_pool2d(self._conv(self._conv(x, "Conv2d_2a_3x3"), "Conv2d_2b_3x3"), 3, 2)

    def pooled(self, images: Tensor) -> Tensor:  # uint8 [N,H,W,3] -> [N,2048]
        """The features of FID."""
        x = self._conv(self._conv(self.stem(images), "Conv2d_3b_1x1"), "Conv2d_4a_3x3")
        x = F.max_pool2d(x, 3, 2)
        for block, sort in BLOCKS.items():
            x = getattr(self, f"_block_{sort}")(x, block)
        return x.mean(dim=(2, 3))

    def _conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight, bias = self.weights[name]
        height, width = weight.shape[2:]
        padding = (0, 0) if stride > 1 or name in _VALID else (height // 2, width // 2)
        return F.relu(F.conv2d(x, weight, bias, stride, padding))

    def _chain(self, x: Tensor, block: str, *names: str, stride: int = 1) -> Tensor:
        """Convolutions one after the other; the last one strides."""
        for name in names[:-1]:
            x = self._conv(x, f"{block}.{name}")
        return self._conv(x, f"{block}.{names[-1]}", stride)

    def _pool(self, x: Tensor, block: str) -> Tensor:
        by_maximum = block == "Mixed_7c"  # so was the graph of 2015-12-05
        x = F.max_pool2d(x, 3, 1, 1) if by_maximum else F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return self._conv(x, f"{block}.branch_pool")

    def _block_a(self, x: Tensor, block: str) -> Tensor:
        five = self._chain(x, block, "branch5x5_1", "branch5x5_2")
        double = self._chain(x, block, *_DOUBLE, "branch3x3dbl_3")
        return torch.cat([self._conv(x, f"{block}.branch1x1"), five, double, self._pool(x, block)], dim=1)

    def _block_b(self, x: Tensor, block: str) -> Tensor:
        double = self._chain(x, block, *_DOUBLE, "branch3x3dbl_3", stride=2)
        return torch.cat([self._conv(x, f"{block}.branch3x3", 2), double, F.max_pool2d(x, 3, 2)], dim=1)

    def _block_c(self, x: Tensor, block: str) -> Tensor:
        seven = self._chain(x, block, *(f"branch7x7_{place}" for place in (1, 2, 3)))
        double = self._chain(x, block, *(f"branch7x7dbl_{place}" for place in (1, 2, 3, 4, 5)))
        return torch.cat([self._conv(x, f"{block}.branch1x1"), seven, double, self._pool(x, block)], dim=1)

    def _block_d(self, x: Tensor, block: str) -> Tensor:
        three = self._chain(x, block, "branch3x3_1", "branch3x3_2", stride=2)
        seven = self._chain(x, block, *(f"branch7x7x3_{place}" for place in (1, 2, 3, 4)), stride=2)
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], dim=1)

    def _block_e(self, x: Tensor, block: str) -> Tensor:
        three = self._conv(x, f"{block}.branch3x3_1")
        double = self._chain(x, block, *_DOUBLE)
        ends = [
            self._conv(y, f"{block}.{name}{end}")
            for y, name in ((three, "branch3x3_2"), (double, "branch3x3dbl_3"))
            for end in "ab"
        ]
        return torch.cat([self._conv(x, f"{block}.branch1x1"), *ends, self._pool(x, block)], dim=1)


def resize_like_tensorflow(images: Tensor, px: int) -> Tensor:  # [N,C,H,W] -> [N,C,px,px]
    """Bilinear as TensorFlow 1 did it: corners at corners' left edges, nothing averaged when shrinking."""
    for axis in (2, 3):
        size = images.shape[axis]
        if size != px:
            at = torch.arange(px, dtype=torch.float32) * (size / px)
            low = at.long()
            high = (low + 1).clamp(max=size - 1)
            part = (at - low).reshape([-1 if place == axis else 1 for place in range(4)])
            images = torch.lerp(images.index_select(axis, low), images.index_select(axis, high), part)
    return images


def load_inception(file: Path) -> Inception:
    """From safetensors, or a PyTorch state dict (tensors alone: code in a file is never run)."""
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except (SafetensorError, RuntimeError, ValueError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file}: neither safetensors nor a PyTorch state dict: {reason}") from None
    except UnpicklingError:  # what weights_only refuses
        raise UserError(f"{file}: holds more than tensors and is not read; save its state_dict") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{file}: no state dict of tensors")
    return Inception(state, str(file))
