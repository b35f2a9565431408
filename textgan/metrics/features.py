"""Frozen extractors, image -> features, and the cache of what was extracted.

An extractor never sees what the discriminator saw: Lite2 is no discriminator's network here. The
second one, whitened raw patches, knows nothing of ImageNet, so gaming one shows in the other.
Images go through in batches of one fixed size, the last one padded, so that features (and
every number made from them) are the same bits whatever batch the caller used.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor
from torch.nn import functional as F

from textgan.errors import UserError
from textgan.files import STATE, fingerprint, sha256_file, write_bytes
from textgan.progress import Progress
from textgan.seeds import derive_seed

Images = NDArray[np.uint8]
"""[N,H,W,3]"""
Features = NDArray[np.float32]
"""[N,D]"""
BATCH = 32
LITE_PX = 128
PATCH = 8
PATCH_PX = 64


class Extractor(Protocol):
    """A frozen network from images to features. `identity` names weights, input size and resize filter."""

    name: str
    identity: dict[str, str | int]

    def __call__(self, images: Tensor) -> Tensor:  # uint8 [N,H,W,3] -> float32 [N,D]
        """Features of one batch."""
        ...


def to_unit(images: Tensor, px: int) -> Tensor:  # uint8 [N,H,W,3] -> float32 [N,3,px,px] in [0, 1]
    """Antialiased bicubic resize in float; images of that size already are left as they are."""
    x = images.permute(0, 3, 1, 2).float() / 255
    if x.shape[2:] != (px, px):
        x = F.interpolate(x, size=(px, px), mode="bicubic", antialias=True).clamp(0, 1)
    return x


class LiteExtractor:
    """Pooled features before the classifier of a frozen EfficientNet-Lite: [N,1280]."""

    def __init__(self, variant: str = "lite2") -> None:
        from textgan.extractors import load_extractor, weights_file

        self.name = variant
        self.identity: dict[str, str | int] = {
            "extractor": variant,
            "weights_sha256": sha256_file(weights_file(variant)),
            "input_px": LITE_PX,
            "resize": "torch bicubic antialias float32",
        }
        self.net = load_extractor(variant, with_head=True)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [N,H,W,3] -> [N,1280]."""
        return self.net.pooled(to_unit(images, LITE_PX) * 2 - 1)


class PatchExtractor:
    """Whitened raw 8x8 patches, no learned network: [N,1024].

    Coates, Lee and Ng 2011: patches of real training images give mean and ZCA whitening; 128 of
    them are the filters; both signs of the responses are rectified and averaged over quadrants.
    """

    FILTERS = 128
    EPSILON = 1e-3
    """Added to the eigenvalues (pixels in [0, 1]), so that whitening does not blow noise up."""

    def __init__(self, reference: Images, seed: int = 0) -> None:
        if len(reference) < 32:
            raise UserError(f"patches8: {len(reference)} training images; at least 32 are needed to whiten patches")
        self.name = "patches8"
        self.identity: dict[str, str | int] = {
            "extractor": "patches8",
            "reference_sha256": images_sha256(reference),
            "reference_images": len(reference),
            "input_px": PATCH_PX,
            "resize": "torch bicubic antialias float32",
            "seed": seed,
        }
        rng = np.random.default_rng(derive_seed(seed, "patches"))
        patches = _random_patches(reference, rng, per_image=max(1, 20_000 // len(reference)))  # [P,192]
        mean = patches.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(patches.T))
        whiten = (vectors / np.sqrt(values.clip(min=0) + self.EPSILON)) @ vectors.T
        white = (patches - mean) @ whiten
        atoms = white[rng.permutation(len(white))[: self.FILTERS]]
        atoms /= np.linalg.norm(atoms, axis=1, keepdims=True) + 1e-6
        filters = atoms @ whiten  # a response is atom . whiten (patch - mean), one linear filter
        self.bias = torch.from_numpy(-(filters @ mean)).float()
        self.weight = torch.from_numpy(filters).float().reshape(self.FILTERS, PATCH, PATCH, 3).permute(0, 3, 1, 2)
        self.weight = self.weight.contiguous()

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [N,H,W,3] -> [N,1024]."""
        response = F.conv2d(to_unit(images, PATCH_PX), self.weight, self.bias, stride=2)
        both = torch.cat([response.relu(), (-response).relu()], dim=1)
        return F.adaptive_avg_pool2d(both, 2).flatten(1)


def _random_patches(images: Images, rng: np.random.Generator, per_image: int) -> NDArray[np.float64]:
    rows = []
    for start in range(0, len(images), BATCH):
        batch = to_unit(torch.from_numpy(images[start : start + BATCH]), PATCH_PX).permute(0, 2, 3, 1).numpy()
        for image in batch:
            for top, left in rng.integers(0, PATCH_PX - PATCH + 1, size=(per_image, 2)):
                rows.append(image[top : top + PATCH, left : left + PATCH].reshape(-1))
    return np.asarray(rows, dtype=np.float64)


def images_sha256(images: Images) -> str:
    """Hash of the pixels and their shape: what the numbers were made from."""
    digest = hashlib.sha256(repr(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def extract(images: Images, extractor: Extractor, what: str = "images") -> Features:
    """Features of all images, in fixed batches. Raises UserError where they are not finite."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(f"{what}: {images.dtype} of shape {images.shape}; images must be uint8 [N,H,W,3]")
    progress = Progress(len(images), f"{extractor.name} features of {what}")
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH]))
            count = len(batch)
            if count < BATCH:
                batch = torch.cat([batch, batch[:1].expand(BATCH - count, -1, -1, -1)])
            rows.append(extractor(batch)[:count].float().numpy())
            progress.update(count)
    progress.close()
    features = np.concatenate(rows) if rows else np.zeros((0, 1), dtype=np.float32)
    if not np.isfinite(features).all():
        raise UserError(f"{what}: {extractor.name} gives features that are not finite")
    return features


def extract_cached(images: Images, extractor: Extractor, what: str, cache: Path = STATE / "features") -> Features:
    """`extract`, kept by the content of images and extractor; a damaged entry is made again."""
    key = fingerprint({"images": images_sha256(images), **extractor.identity, "batch": BATCH})
    path = cache / f"{extractor.name}-{key}.safetensors"
    if path.is_file():
        try:
            features = load_file(path)["features"]
            if len(features) == len(images):
                return features
        except (OSError, KeyError, SafetensorError):
            path.unlink(missing_ok=True)
    features = extract(images, extractor, what)
    write_bytes(path, save({"features": features}))
    return features
