"""Image metrics: exact where a formula is known, blind to batches and order."""

import numpy as np
import pytest
import scipy.linalg

from tests.test_ladders import drawn
from textgan.errors import UserError
from textgan.metrics.distances import RunningStatistics, frechet_distance, frechet_of_samples, gaussian_of
from textgan.metrics.features import PatchExtractor, extract
from textgan.metrics.intervals import wilson
from textgan.metrics.kernel import kernels, kid, weighted_mmd
from textgan.metrics.manifold import manifold


def features(seed: int, count: int, dim: int = 24, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).standard_normal((dim, dim)) / dim**0.5
    return (rng.standard_normal((count, dim)) @ mixing + shift).astype(np.float32)


def test_frechet_agrees_with_scipy_sqrtm():
    """An independent computation from the same features gives the same distance to 1e-3."""
    x, y = features(0, 300), features(1, 400, shift=0.3)
    a, b = np.cov(x.T.astype(np.float64)), np.cov(y.T.astype(np.float64))
    root = scipy.linalg.sqrtm(a @ b).real
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * root)
    assert frechet_distance(gaussian_of(x), gaussian_of(y)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_frechet_agrees_with_scipy_sqrtm_where_covariances_are_singular():
    """Patches of 400 drawn pictures: 200 a side, 1,024 features; both ways to the distance."""
    pictures = drawn(0, 400)
    seen = extract(pictures, PatchExtractor(pictures[:200])).astype(np.float64)
    x, y = seen[:200], seen[200:]
    a, b = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(a @ b).real
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * root)
    assert frechet_of_samples(x, y) == pytest.approx(expected, rel=1e-3)
    assert frechet_distance(gaussian_of(x), gaussian_of(y)) == pytest.approx(expected, rel=1e-3)


def test_a_sample_that_counts_twice_is_two_samples():
    """The bootstrap's shorter matrix gives the distance of the longer one."""
    rng = np.random.default_rng(0)
    x, y = features(0, 20).astype(np.float64), features(1, 15, shift=0.2).astype(np.float64)
    a, b = rng.integers(1, 4, 20), rng.integers(1, 4, 15)
    whole = frechet_of_samples(x.repeat(a, axis=0), y.repeat(b, axis=0))
    assert frechet_of_samples(x, y, a, b) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("count", [12, 60])
def test_both_ways_to_the_frechet_distance_agree(count):
    """Also where images are fewer than features and the covariance is singular."""
    x, y = features(0, count).astype(np.float64), features(1, count, shift=0.2).astype(np.float64)
    assert frechet_of_samples(x, y) == pytest.approx(frechet_distance(gaussian_of(x), gaussian_of(y)), rel=1e-5)


def test_frechet_of_a_set_with_itself_is_zero():
    x = gaussian_of(features(0, 100))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_statistics_do_not_depend_on_batch_size(batch):
    x = features(0, 200)
    whole, parts = gaussian_of(x), gaussian_of(x, batch=batch)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(parts.covariance, whole.covariance, rtol=1e-9, atol=1e-12)


def test_features_that_are_not_finite_are_refused():
    running = RunningStatistics(3)
    with pytest.raises(UserError, match="not finite"):
        running.add(np.array([[1.0, np.nan, 0.0]]))


def test_kid_is_unbiased_and_grows_with_the_difference():
    """Between sets of one distribution it scatters about 0; a shift lifts it out of the interval."""
    floors = [kid(kernels(features(s, 200), features(s + 50, 200)), 0, resamples=20).value for s in range(12)]
    assert abs(np.mean(floors)) < 3 * np.std(floors) / 12**0.5
    apart = kid(kernels(features(0, 200), features(1, 200, shift=0.4)), 0)
    assert apart.low > max(floors)
    assert apart.low < apart.value < apart.high


def test_a_weight_of_two_is_not_a_pair_of_an_image_with_itself():
    """Doubling every weight leaves the multiset's estimate as it is."""
    k = kernels(features(0, 40), features(1, 40))
    ones = np.ones(40)
    assert weighted_mmd(k, 2 * ones, 2 * ones) == pytest.approx(weighted_mmd(k, ones, ones), rel=1e-9)


def test_too_few_images_are_refused_with_the_number_needed():
    with pytest.raises(UserError, match="at least 20"):
        kernels(features(0, 19), features(1, 100))
    with pytest.raises(UserError, match="at least 12"):
        manifold(features(0, 11), features(1, 100), 0)


def test_manifold_of_the_same_distribution_is_high_and_of_a_far_one_zero():
    near = manifold(features(0, 300, 4), features(1, 300, 4), 0)
    far = manifold(features(0, 300, 4), features(1, 300, 4, shift=50.0), 0)
    assert min(near.precision.value, near.recall.value, near.density.value, near.coverage.value) > 0.8
    assert max(far.precision.value, far.recall.value, far.density.value, far.coverage.value) == 0.0


def test_collapse_shows_in_recall_and_coverage_not_in_precision():
    """One good picture again and again is precise; that is why precision is never shown alone."""
    real = features(0, 300, 4)
    collapsed = np.repeat(real[:3] + 1e-4, 100, axis=0) + np.random.default_rng(0).normal(0, 1e-4, (300, 4))
    result = manifold(real, collapsed, 0)
    assert result.precision.value == 1.0
    assert result.recall.value < 0.05 and result.coverage.value < 0.2
    assert result.precision.low < 1, "300 of 300 is not all of them for sure"


def test_a_share_of_none_has_an_interval():
    """Images drawn again gave 0 to 0."""
    far = manifold(features(0, 100, 4), features(1, 100, 4, shift=50.0), 0)
    assert (far.recall.value, far.recall.low) == (0, 0) and 0.03 < far.recall.high < 0.05
    assert far.recall == far.coverage == far.precision == wilson(0, 100)
