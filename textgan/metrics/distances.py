"""Fréchet distance from float64 streaming statistics.

Heusel et al. 2017 (the distance), Dowson and Landau 1982 (its closed form for Gaussians). Sums are
kept in float64, so that batches of any size give the same statistics to the last few bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgan.errors import UserError

Array = NDArray[np.float64]


class RunningStatistics:
    """Sums of features and of their outer products, batch by batch."""

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.total = np.zeros(dim)  # [D]
        self.outer = np.zeros((dim, dim))  # [D,D]

    def add(self, features: NDArray[np.floating]) -> None:  # [N,D]
        """Count a batch. Raises UserError where a feature is not finite."""
        batch = np.asarray(features, dtype=np.float64)
        if not np.isfinite(batch).all():
            raise UserError("features: some are not finite (NaN images?); statistics over them mean nothing")
        self.count += len(batch)
        self.total += batch.sum(axis=0)
        self.outer += batch.T @ batch

    def gaussian(self) -> Gaussian:
        """Mean and unbiased covariance of what was added."""
        if self.count < 2:
            raise UserError(f"Fréchet distance: {self.count} images; at least 2 are needed")
        mean = self.total / self.count
        covariance = (self.outer - self.count * np.outer(mean, mean)) / (self.count - 1)
        return Gaussian(mean, covariance)


def merged(parts: Sequence[RunningStatistics]) -> RunningStatistics:
    """Statistics of what was added to any of them."""
    whole = RunningStatistics(len(parts[0].total))
    for part in parts:
        whole.count += part.count
        whole.total += part.total
        whole.outer += part.outer
    return whole


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Mean [D] and covariance [D,D] of features."""

    mean: Array
    covariance: Array


def gaussian_of(features: NDArray[np.floating], batch: int = 1024) -> Gaussian:  # [N,D]
    """Statistics of features that are all at hand."""
    running = RunningStatistics(features.shape[1])
    for start in range(0, len(features), batch):
        running.add(features[start : start + batch])
    return running.gaussian()


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|mu_a - mu_b|^2 + tr(A + B - 2 sqrt(A B)).

    tr sqrt(A B) is the sum of the roots of the eigenvalues of sqrt(A) B sqrt(A), which is symmetric:
    two eigendecompositions, no complex numbers and no added epsilon, singular covariances included.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    inner = root @ b.covariance @ root
    trace_root = np.sqrt(np.linalg.eigvalsh((inner + inner.T) / 2).clip(min=0)).sum()
    mean_part = float(np.square(a.mean - b.mean).sum())
    return max(0.0, mean_part + float(np.trace(a.covariance) + np.trace(b.covariance) - 2 * trace_root))


def frechet_of_samples(
    x: Array,  # [N,D]
    y: Array,  # [M,D]
    times_x: NDArray[np.integer] | None = None,  # [N], how often each counts; once by default
    times_y: NDArray[np.integer] | None = None,
) -> float:
    """The same distance from samples fewer than features: the cross term is a nuclear norm.

    tr sqrt(A B) = |Xc Yc^T|_* / sqrt((N-1)(M-1)), one N x M singular value decomposition. A sample that counts k times
    stands for k equal rows, which have the singular values of one row times sqrt(k): a bootstrap's matrix is smaller.
    """
    (mean_x, xc, n), (mean_y, yc, m) = _centred(x, times_x), _centred(y, times_y)
    cross = np.linalg.svd(xc @ yc.T, compute_uv=False).sum() / np.sqrt(n * m)
    value = np.square(mean_x - mean_y).sum() + np.square(xc).sum() / n + np.square(yc).sum() / m - 2 * cross
    return max(0.0, float(value))


def _centred(x: Array, times: NDArray[np.integer] | None) -> tuple[Array, Array, float]:
    """Mean, centred rows by the root of how often they count, and degrees of freedom."""
    counts = np.ones(len(x)) if times is None else np.asarray(times, dtype=np.float64)
    mean = counts @ x / counts.sum()
    return mean, (x - mean) * np.sqrt(counts)[:, None], float(counts.sum() - 1)
