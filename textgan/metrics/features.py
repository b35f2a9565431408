"""Frozen extractors, image -> features, and the cache of what was extracted.

An extractor never sees what the discriminator saw: Lite2 is no discriminator's network here. The
second one, whitened raw patches, knows nothing of ImageNet, so gaming one shows in the other.
Images go through in batches of one fixed size, the last one padded, so that features (and
every number made from them) are the same bits whatever batch the caller used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

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

if TYPE_CHECKING:
    from textgan.extractors import EfficientNetLite

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


class Levels:
    """The pyramid of a batch, kept until another batch comes: extractors that share one network run it once."""

    def __init__(self, net: EfficientNetLite, px: int = LITE_PX) -> None:
        self.net = net
        self.px = px
        self._batch: Tensor | None = None
        self._levels: list[Tensor] = []

    def __call__(self, images: Tensor) -> list[Tensor]:  # uint8 [N,H,W,3] -> four of [N,C,H',W']
        """Levels of these images; the same tensor again costs nothing."""
        if images is not self._batch:
            self._levels = self.net.pyramid(to_unit(images, self.px) * 2 - 1)
            self._batch = images
        return self._levels


class LiteExtractor:
    """Pooled features before the classifier of a frozen EfficientNet-Lite: [N,1280]."""

    def __init__(self, variant: str = "lite2", px: int = LITE_PX) -> None:
        from textgan.extractors import load_extractor, weights_file

        self.name = variant
        self.identity: dict[str, str | int] = {
            "extractor": variant,
            "weights_sha256": sha256_file(weights_file(variant)),
            "input_px": px,
            "resize": "torch bicubic antialias float32",
        }
        self.net = load_extractor(variant, with_head=True)
        self.levels = Levels(self.net, px)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [N,H,W,3] -> [N,1280]."""
        return self.net.pooled_from(self.levels(images))


class PatchExtractor:
    """Whitened raw 8x8 patches, no learned network: [N,1024].

    Coates, Lee and Ng 2011: patches of real training images give mean and ZCA whitening; 128 of
    them are the filters; both signs of the responses are rectified and pooled over quadrants. The pool is the
    root mean square: a mean cannot tell faint detail everywhere from hard block edges in few places, and was blind
    to strong JPEG.
    """

    FILTERS = 128
    EPSILON = 1e-3
    """Added to the eigenvalues (pixels in [0, 1]), so that whitening does not blow noise up."""
    FEWEST = 32
    """Reference images below which whitening is that of a handful of pictures."""

    def __init__(self, reference: Images, seed: int = 0) -> None:
        if len(reference) < self.FEWEST:
            need = f"at least {self.FEWEST} are needed to whiten patches"
            raise UserError(f"patches8: {len(reference)} training images; {need}")
        self.name = "patches8"
        self.identity: dict[str, str | int] = {
            "extractor": "patches8",
            "reference_sha256": images_sha256(reference),
            "reference_images": len(reference),
            "input_px": PATCH_PX,
            "resize": "torch bicubic antialias float32",
            "pool": "root mean square",
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
        return F.adaptive_avg_pool2d(both.square(), 2).sqrt().flatten(1)


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
    return _extract(images, [extractor], what)[0]


def _extract(images: Images, extractors: Sequence[Extractor], what: str) -> list[Features]:
    """Features of each extractor, all of them on one batch before the next."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(f"{what}: {images.dtype} of shape {images.shape}; images must be uint8 [N,H,W,3]")
    names = " and ".join(extractor.name for extractor in extractors)
    progress = Progress(len(images), f"{names} features of {what}")
    rows: list[list[Features]] = [[] for _ in extractors]
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH]))
            count = len(batch)
            if count < BATCH:
                batch = torch.cat([batch, batch[:1].expand(BATCH - count, -1, -1, -1)])
            for own, extractor in zip(rows, extractors, strict=True):
                own.append(extractor(batch)[:count].float().numpy())
            progress.update(count)
    progress.close()
    results = [np.concatenate(own) if own else np.zeros((0, 1), dtype=np.float32) for own in rows]
    for features, extractor in zip(results, extractors, strict=True):
        if not np.isfinite(features).all():
            raise UserError(f"{what}: {extractor.name} gives features that are not finite")
    return results


CACHE = STATE / "features"


def extract_cached(images: Images, extractor: Extractor, what: str, cache: Path = CACHE) -> Features:
    """`extract`, kept by the content of images and extractor; a damaged entry is made again."""
    return extract_together(images, [extractor], what, cache)[0]


def extract_together(images: Images, extractors: Sequence[Extractor], what: str, cache: Path = CACHE) -> list[Features]:
    """`extract_cached` for several extractors: where they share a network, it runs once a batch."""
    digest = images_sha256(images)
    places = [_entry(digest, extractor, cache) for extractor in extractors]
    found = [_kept(place, len(images)) for place in places]
    missing = [number for number, features in enumerate(found) if features is None]
    made = _extract(images, [extractors[number] for number in missing], what) if missing else []
    for number, features in zip(missing, made, strict=True):
        write_bytes(places[number], save({"features": features}))
        found[number] = features
    return [features for features in found if features is not None]


def _entry(images_digest: str, extractor: Extractor, cache: Path) -> Path:
    key = fingerprint({"images": images_digest, **extractor.identity, "batch": BATCH})
    return cache / f"{extractor.name}-{key}.safetensors"


def _kept(path: Path, count: int) -> Features | None:
    """A whole cache entry of so many images; a damaged one is removed."""
    if not path.is_file():
        return None
    try:
        features = load_file(path)["features"]
    except (OSError, KeyError, SafetensorError):
        path.unlink(missing_ok=True)
        return None
    return features if len(features) == count else None
