"""Precision, recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgan.errors import UserError
from textgan.metrics.intervals import Interval, mean_interval, wilson

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Manifold:
    """The four numbers at one k, each with an interval over the images that it averages.

    Shares have Wilson's: images drawn again would say of 0 of 1,000 that it is 0 for sure.
    """

    precision: Interval
    recall: Interval
    density: Interval
    coverage: Interval


def squared_distances(x: Array, y: Array) -> Array:  # [N,D], [M,D] -> [N,M]
    """Pairwise squared Euclidean distances, never negative."""
    square = np.square(x).sum(1)[:, None] + np.square(y).sum(1)[None, :] - 2.0 * (x @ y.T)
    return np.asarray(square.clip(min=0))


def radii(distances: Array, k: int) -> Array:  # [N,N] -> [N]
    """Squared distance to the k-th nearest neighbour, oneself not counted."""
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    return np.asarray(np.partition(others, k - 1, axis=1)[:, k - 1])


def manifold(real: NDArray[np.floating], fake: NDArray[np.floating], seed: int, k: int = 5) -> Manifold:
    """All four. Raises UserError where one side has no k neighbours."""
    for name, features in (("real", real), ("generated", fake)):
        if len(features) < 2 * k + 2:
            need = f"at least {2 * k + 2} are needed"
            raise UserError(f"recall and coverage at k={k}: {len(features)} {name} images; {need}")
    x, y = np.asarray(real, dtype=np.float64), np.asarray(fake, dtype=np.float64)
    # Distances to a common origin near the data: the expansion of the square loses fewer bits.
    centre = x.mean(axis=0)
    x, y = x - centre, y - centre
    real_radii = radii(squared_distances(x, x), k)
    fake_radii = radii(squared_distances(y, y), k)
    cross: Array = squared_distances(x, y)  # [N,M]
    inside_real = cross <= real_radii[:, None]
    inside_fake = cross <= fake_radii[None, :]
    return Manifold(
        precision=_share(np.asarray(inside_real.any(axis=0))),
        recall=_share(np.asarray(inside_fake.any(axis=1))),
        density=mean_interval(inside_real.sum(axis=0).astype(np.float64) / k, seed, "density"),
        coverage=_share(cross.min(axis=1) <= real_radii),
    )


def _share(inside: NDArray[np.bool_]) -> Interval:
    return wilson(int(inside.sum()), len(inside))
