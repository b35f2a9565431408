"""Ways to make pictures worse by degrees: ceilings beside the numbers, ladders for the tests."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from textgan.metrics.features import Images
from textgan.seeds import derive_seed


def blur(images: Images, sigma: float) -> Images:
    """Gaussian blur with a standard deviation of `sigma` pixels, borders mirrored."""
    radius = max(1, int(3 * sigma + 0.5))
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-x.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    y = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    padding = min(radius, y.shape[2] - 1, y.shape[3] - 1)
    kernel = kernel[..., radius - padding : radius + padding + 1]
    kernel = kernel / kernel.sum(dim=-1, keepdim=True)
    y = F.pad(y, (padding,) * 4, mode="reflect")
    y = F.conv2d(F.conv2d(y, kernel[..., None], groups=3), kernel[:, :, None, :], groups=3)
    return _images(y)


def jpeg(images: Images, quality: int, full_colour: bool = False) -> Images:
    """Through JPEG and back; `full_colour` keeps the colours' resolution (4:4:4), as the shards do."""
    rows = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0 if full_colour else -1)
        with Image.open(buffer) as decoded:
            rows.append(np.asarray(decoded.convert("RGB")))
    return np.stack(rows)


def noise(images: Images, deviation: float, seed: int = 0) -> Images:
    """Independent Gaussian noise on every value, in units of 1/255."""
    rng = np.random.default_rng(derive_seed(seed, "noise"))
    return np.asarray((images + rng.normal(0, deviation, images.shape)).round().clip(0, 255), dtype=np.uint8)


def downsample(images: Images, factor: int) -> Images:
    """Smaller by `factor`, and back to the size; what the factor removes is gone."""
    y = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    small = [max(1, side // factor) for side in y.shape[2:]]
    y = F.interpolate(y, size=small, mode="bilinear", antialias=True)
    return _images(F.interpolate(y, size=images.shape[1:3], mode="bicubic", antialias=True))


def collapse(images: Images, kept: int) -> Images:
    """As many images, but only `kept` different ones."""
    return images[np.arange(len(images)) % kept]


def _images(y: torch.Tensor) -> Images:  # float [N,3,H,W] -> uint8 [N,H,W,3]
    return np.ascontiguousarray(y.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())
