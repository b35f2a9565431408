"""Extraction and the cache: the same features whatever the batch, never someone else's, never NaN."""

import numpy as np
import pytest
import torch

from textgan.errors import UserError
from textgan.metrics import features
from textgan.metrics.corruptions import blur, collapse, downsample, jpeg, noise
from textgan.metrics.distances import frechet_of_samples
from textgan.metrics.features import PatchExtractor, extract, extract_cached
from textgan.metrics.kernel import kernels, weighted_mmd
from textgan.metrics.memorisation import memorisation


def pictures(seed: int, count: int, side: int = 64) -> np.ndarray:
    """Coloured discs on striped ground: there is detail to lose."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    images = np.empty((count, side, side, 3), dtype=np.uint8)
    for idx in range(count):
        stripes = (np.sin((x * np.cos(idx) + y * np.sin(idx)) * rng.uniform(0.8, 1.6)) > 0)[..., None]
        images[idx] = np.where(stripes, rng.integers(0, 256, 3), rng.integers(0, 256, 3))
        cy, cx, radius = rng.uniform(0.3, 0.7, 2).tolist() + [rng.uniform(0.1, 0.3)]
        images[idx][(y / side - cy) ** 2 + (x / side - cx) ** 2 < radius**2] = rng.integers(0, 256, 3)
    return images


class Mean:
    """Mean colour; counts its calls."""

    def __init__(self) -> None:
        self.name, self.calls = "mean", 0
        self.identity: dict[str, str | int] = {"extractor": "mean"}

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        assert len(images) == features.BATCH
        return images.float().mean(dim=(1, 2))


@pytest.fixture(scope="module")
def patches() -> PatchExtractor:
    return PatchExtractor(pictures(9, 100))


@pytest.mark.parametrize("count", [1, 31, 32, 33])
def test_features_do_not_depend_on_their_batch(patches, count):
    """Bit for bit: each image alone, or among others."""
    images = pictures(0, 40)
    whole = extract(images, patches)
    np.testing.assert_array_equal(extract(images[:count], patches), whole[:count])


def test_cached_features_are_the_same_and_not_made_again(tmp_path):
    images, extractor = pictures(0, 10), Mean()
    first = extract_cached(images, extractor, "x", tmp_path)
    calls = extractor.calls
    np.testing.assert_array_equal(extract_cached(images, extractor, "x", tmp_path), first)
    assert extractor.calls == calls
    extract_cached(pictures(1, 10), extractor, "x", tmp_path)
    assert extractor.calls > calls


def test_a_damaged_cache_entry_is_made_again(tmp_path):
    images, extractor = pictures(0, 10), Mean()
    first = extract_cached(images, extractor, "x", tmp_path)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(entry.read_bytes()[:40])
    np.testing.assert_array_equal(extract_cached(images, extractor, "x", tmp_path), first)


def test_images_of_another_type_are_refused():
    with pytest.raises(UserError, match="uint8"):
        extract(pictures(0, 4).astype(np.float32), Mean())


def test_features_that_are_not_finite_are_refused():
    class Broken(Mean):
        def __call__(self, images):
            return super().__call__(images) * float("nan")

    with pytest.raises(UserError, match="not finite"):
        extract(pictures(0, 4), Broken())


LADDERS = {
    "blur": [lambda x, s=s: blur(x, s) for s in (1.0, 2.0, 4.0, 8.0)],
    "jpeg": [lambda x, q=q: jpeg(x, q) for q in (20, 8, 4, 1)],
    "noise": [lambda x, d=d: noise(x, d) for d in (25, 50, 100, 200)],
    "downsampling": [lambda x, f=f: downsample(x, f) for f in (2, 4, 8, 16)],
    "collapse": [lambda x, k=k: collapse(x, k) for k in (60, 20, 6, 2)],
}


@pytest.mark.parametrize("ladder", sorted(LADDERS))
def test_distances_rise_on_every_ladder(patches, ladder):
    """Worse pictures, larger KID and Fréchet distance, step by step."""
    real, other = extract(pictures(0, 200), patches), pictures(1, 200)
    kids, distances = [], []
    for worsen in [lambda x: x, *LADDERS[ladder]]:
        made = extract(worsen(other), patches)
        k = kernels(real, made)
        kids.append(weighted_mmd(k, np.ones(200), np.ones(200)))
        distances.append(frechet_of_samples(real.astype(np.float64), made.astype(np.float64)))
    assert kids == sorted(kids) and len(set(kids)) == len(kids), kids
    assert distances == sorted(distances) and len(set(distances)) == len(distances), distances


def test_copies_are_found(patches):
    """Training images with a little noise are nearer to training than test images are."""
    train, test = pictures(0, 150), pictures(1, 100)
    copied = memorisation(extract(noise(train[:100], 2), patches), extract(test, patches), extract(train, patches))
    honest = memorisation(extract(pictures(2, 100), patches), extract(test, patches), extract(train, patches))
    assert copied.ratio < 0.3 < 0.8 < honest.ratio
    assert copied.nearer_than_test > 0.9 and honest.nearer_than_test < 0.1
