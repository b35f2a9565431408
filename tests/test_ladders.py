"""Worse pictures, larger distances: step by step, on drawn pictures, on both offline extractors.

The rungs were written down before they were tried. `patches8` pools root mean squares because with means the KID of
JPEG at quality 5 fell below that at 20: faint detail lost and block edges gained cancelled each other.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.draw import draw_one
from textgan.metrics.corruptions import blur, collapse, downsample, jpeg, noise
from textgan.metrics.distances import frechet_of_samples
from textgan.metrics.features import Extractor, Features, Images, LiteExtractor, PatchExtractor, extract
from textgan.metrics.kernel import kernels, weighted_mmd

IMAGES = 160
SIDE = 64
LADDERS = {
    "blur": [lambda x, s=s: blur(x, s) for s in (1.0, 2.0, 4.0)],
    "jpeg": [lambda x, q=q: jpeg(x, q) for q in (50, 20, 5)],
    "noise": [lambda x, d=d: noise(x, 255 * d) for d in (0.05, 0.1, 0.2)],
    "downsampling": [lambda x, f=f: downsample(x, f) for f in (2, 4, 8)],
}
COLLAPSED = (0.5, 0.75, 0.95)
"""Share of the pictures that are lost to copies of the rest."""
SUBSETS = 20
"""Which pictures are left is luck; the ladder is that of the mean over so many choices."""


def drawn(first: int, count: int) -> Images:
    """Drawn pictures, cats and cars in turn, at the preset's size."""
    rows = []
    for idx in range(first, first + count):
        with Image.open(io.BytesIO(draw_one(0, ("cat", "car")[idx % 2], idx)[2])) as picture:
            square = picture.convert("RGB").crop((0, 0, min(picture.size), min(picture.size)))
            rows.append(np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)))
    return np.stack(rows)


@pytest.fixture(scope="module")
def pictures() -> tuple[Images, Images]:
    return drawn(0, IMAGES), drawn(IMAGES, IMAGES)


@pytest.fixture(scope="module")
def patches(pictures) -> Seen:
    return Seen(PatchExtractor(pictures[1]), *pictures)


@pytest.fixture(scope="module")
def lite(pictures) -> Seen:
    return Seen(LiteExtractor("lite2"), *pictures)


class Seen:
    """An extractor with the features of the real pictures and of the others, unharmed."""

    def __init__(self, extractor: Extractor, real: Images, others: Images) -> None:
        self.extractor, self.others = extractor, others
        self.real, self.unharmed = extract(real, extractor), extract(others, extractor)

    def apart(self, features: Features) -> tuple[float, float]:
        """KID and Fréchet distance to the real pictures."""
        mmd = weighted_mmd(kernels(self.real, features), np.ones(len(self.real)), np.ones(len(features)))
        return mmd, frechet_of_samples(self.real.astype(np.float64), features.astype(np.float64))

    def climb(self, ladder: str) -> tuple[list[float], list[float]]:
        """Both distances at the foot and at each rung."""
        steps = [self.apart(self.unharmed)]
        for worsen in LADDERS[ladder]:
            steps.append(self.apart(extract(worsen(self.others), self.extractor)))
        return [kid for kid, _ in steps], [fd for _, fd in steps]

    def collapse(self) -> tuple[list[float], list[float]]:
        """The same where fewer and fewer pictures are different ones; copies have the features of their originals."""
        steps = [self.apart(self.unharmed)]
        rng = np.random.default_rng(0)
        orders = [rng.permutation(len(self.unharmed)) for _ in range(SUBSETS)]
        for lost in COLLAPSED:
            kept = round(len(self.unharmed) * (1 - lost))
            both = [self.apart(self.unharmed[order[np.arange(len(order)) % kept]]) for order in orders]
            steps.append((float(np.mean([kid for kid, _ in both])), float(np.mean([fd for _, fd in both]))))
        return [kid for kid, _ in steps], [fd for _, fd in steps]


def rises(values: list[float]) -> bool:
    return all(low < high for low, high in zip(values, values[1:], strict=False))


@pytest.mark.parametrize("ladder", sorted(LADDERS))
def test_distances_rise_on_every_ladder_of_patches(ladder, patches):
    kids, distances = patches.climb(ladder)
    assert rises(kids), kids
    assert rises(distances), distances


def test_distances_rise_with_collapse_of_patches(patches):
    kids, distances = patches.collapse()
    assert rises(kids), kids
    assert rises(distances), distances


@pytest.mark.slow
@pytest.mark.parametrize("ladder", sorted(LADDERS))
def test_distances_rise_on_every_ladder_of_lite2(ladder, lite):
    kids, distances = lite.climb(ladder)
    assert rises(kids), kids
    assert rises(distances), distances


@pytest.mark.slow
def test_distances_rise_with_collapse_of_lite2(lite):
    kids, distances = lite.collapse()
    assert rises(kids), kids
    assert rises(distances), distances


def test_collapse_repeats_pictures(pictures):
    assert len(np.unique(collapse(pictures[0], 8), axis=0)) == 8
