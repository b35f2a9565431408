"""EfficientNet-Lite1 for photos: features over places, ImageNet logits, class activation maps.

Tan and Le 2019; the network and its weights are those of `textgan.extractors`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from pipeline import imaging
from textgan.extractors import EfficientNetLite, load_extractor, weights_file

VARIANT = "lite1"

INPUT_PX = 240
"""The network's own input side; pictures are stretched to it."""
GRID = 8
CAT_CLASSES = (281, 282, 283, 284, 285)
CAR_CLASSES = (407, 436, 468, 511, 609, 627, 654, 656, 661, 675, 705, 717, 734, 751, 779, 817, 829, 864, 867)
"""ImageNet classes of domestic cats, and of cars and their like (ambulance to trailer truck)."""
CLASSES = {"cat": CAT_CLASSES, "car": CAR_CLASSES}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the network sees in a picture."""

    features: np.ndarray
    """float32 [8,8,1280], after the last convolution."""
    logits: np.ndarray
    """float32 [1000]."""


def classify(pixels: np.ndarray) -> Seen:  # uint8 [H,W,3]
    """Run the network on one picture: alone, so that no other one changes the last bits of what is said of it."""
    resized = imaging.resize(pixels, INPUT_PX, INPUT_PX)
    images = (torch.from_numpy(np.ascontiguousarray(resized))[None].permute(0, 3, 1, 2).float() - 127) / 128
    network = _network()
    with torch.inference_mode():
        features = network.features(images)  # [1,1280,8,8]
        logits = features.mean(dim=(2, 3)) @ network.weight.T + network.bias
    return Seen(np.ascontiguousarray(features[0].permute(1, 2, 0).numpy()), logits[0].numpy())


def activation_map(features: np.ndarray, kind: str) -> np.ndarray:  # [8,8,1280] -> [8,8] in 0..1
    """Where the classes of a kind are seen (Zhou et al. 2016)."""
    weight = _network().weight[list(CLASSES[kind])].mean(dim=0).numpy()
    activation = np.maximum(features @ weight, 0)
    return activation / max(float(activation.max()), 1e-6)


@dataclass(frozen=True, slots=True)
class _Network:
    """The folded network, and the classifier of its last features."""

    folded: EfficientNetLite
    weight: torch.Tensor
    """[1000,1280]"""
    bias: torch.Tensor
    """[1000]"""

    def features(self, images: torch.Tensor) -> torch.Tensor:  # [N,3,240,240] -> [N,1280,8,8]
        """After the last convolution."""
        assert self.folded.head is not None
        head: torch.Tensor = self.folded.head(self.folded.pyramid(images)[-1])
        return head


@functools.cache
def _network() -> _Network:
    state = torch.load(weights_file(VARIANT), map_location="cpu", weights_only=True)
    return _Network(load_extractor(VARIANT, with_head=True), state["_fc.weight"], state["_fc.bias"])
