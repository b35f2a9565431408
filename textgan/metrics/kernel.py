"""Kernel Inception distance: the unbiased squared MMD with a cubic kernel (Bińkowski et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgan.errors import UserError
from textgan.seeds import derive_seed

Array = NDArray[np.float64]
MIN_IMAGES = 20
"""Fewer make the estimate a coin toss; asked for fewer, `kid` refuses."""
SUBSETS = 100


@dataclass(frozen=True, slots=True)
class Kernels:
    """Kernel values among the real [N,N], among the fake [M,M] and between them [N,M]."""

    real: Array
    fake: Array
    cross: Array


@dataclass(frozen=True, slots=True)
class Kid:
    """The estimate over all images, the deviation over subsets, a bootstrap interval of 95 %."""

    value: float
    deviation: float
    low: float
    high: float


def cubic_kernel(x: Array, y: Array) -> Array:  # [N,D], [M,D] -> [N,M]
    """(x.y / D + 1)^3, in float64."""
    return np.asarray((x @ y.T / x.shape[1] + 1.0) ** 3)


def kernels(real: NDArray[np.floating], fake: NDArray[np.floating]) -> Kernels:
    """All kernel values. Raises UserError where images are too few or features not finite."""
    for name, features in (("real", real), ("generated", fake)):
        if len(features) < MIN_IMAGES:
            raise UserError(f"KID: {len(features)} {name} images; at least {MIN_IMAGES} are needed")
        if not np.isfinite(features).all():
            raise UserError(f"KID: features of {name} images are not finite (NaN images?)")
    x, y = np.asarray(real, dtype=np.float64), np.asarray(fake, dtype=np.float64)
    return Kernels(cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y))


def weighted_mmd(k: Kernels, real_weights: Array, fake_weights: Array) -> float:
    """Unbiased squared MMD of multisets; pairs of one image with itself never count, drawn twice or not."""
    within = 0.0
    for matrix, w in ((k.real, real_weights), (k.fake, fake_weights)):
        pairs = w.sum() ** 2 - np.square(w).sum()
        within += float(w @ matrix @ w - np.square(w) @ np.diag(matrix)) / pairs
    return within - 2.0 * float(real_weights @ k.cross @ fake_weights) / float(real_weights.sum() * fake_weights.sum())


def kid(k: Kernels, seed: int, resamples: int = 200) -> Kid:
    """KID with its deviation over random subsets of half the images and a bootstrap interval."""
    n, m = len(k.real), len(k.fake)
    value = weighted_mmd(k, np.ones(n), np.ones(m))
    rng = np.random.default_rng(derive_seed(seed, "kid"))
    halves = [weighted_mmd(k, _half(rng, n), _half(rng, m)) for _ in range(SUBSETS)]
    boots = [weighted_mmd(k, _resample(rng, n), _resample(rng, m)) for _ in range(resamples)]
    low, high = np.quantile(boots, (0.025, 0.975))
    return Kid(value, float(np.std(halves)), float(low), float(high))


def _resample(rng: np.random.Generator, n: int) -> Array:
    return rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64)


def _half(rng: np.random.Generator, n: int) -> Array:
    weights = np.zeros(n)
    weights[rng.permutation(n)[: n // 2]] = 1.0
    return weights
