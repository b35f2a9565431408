"""Extraction and the cache: the same features whatever the batch, never someone else's, never NaN."""

import numpy as np
import pytest
import torch

from textgan.errors import UserError
from textgan.metrics import features
from textgan.metrics.corruptions import noise
from textgan.metrics.features import LiteExtractor, PatchExtractor, extract, extract_cached, extract_together
from textgan.metrics.matcher import MatcherBackbone
from textgan.metrics.memorisation import distances, memorisation


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


def test_extractors_that_share_a_network_give_what_each_gives_alone(tmp_path):
    """One pass of Lite2 for the metrics and the matcher: the same bits, half the work."""
    images, lite = pictures(0, 5), LiteExtractor("lite2")
    passes = []
    lite.net.stem.register_forward_hook(lambda *_: passes.append(1))
    together = extract_together(images, [lite, MatcherBackbone(lite.levels)], "x", tmp_path)
    assert len(passes) == 1
    for made, alone in zip(together, (LiteExtractor("lite2"), MatcherBackbone()), strict=True):
        np.testing.assert_array_equal(made, extract(images, alone))


def test_images_of_another_type_are_refused():
    with pytest.raises(UserError, match="uint8"):
        extract(pictures(0, 4).astype(np.float32), Mean())


def test_features_that_are_not_finite_are_refused():
    class Broken(Mean):
        def __call__(self, images):
            return super().__call__(images) * float("nan")

    with pytest.raises(UserError, match="not finite"):
        extract(pictures(0, 4), Broken())


def test_copies_are_found(patches):
    """Training images with a little noise are nearer to training than test images are."""
    seen = extract(pictures(0, 150), patches), extract(pictures(1, 100), patches)
    copied, honest = (
        memorisation(distances(extract(images, patches), seen[1], seen[0]), 0)
        for images in (noise(pictures(0, 150)[:100], 2), pictures(2, 100))
    )
    assert copied.ratio < 0.3 < 0.8 < honest.ratio
    assert honest.ratio_low < honest.ratio < honest.ratio_high and copied.ratio_high < honest.ratio_low
    assert copied.nearer_than_test > 0.9 and honest.nearer_than_test < 0.1
