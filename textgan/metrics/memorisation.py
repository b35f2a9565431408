"""Does the generator copy its training images: nearest neighbours, and distances beside those of real pictures.

For each sample the distance to its nearest training image; the same for each test image, which
cannot have been copied. Copying shows as samples that are nearer to training images than test
images are: a ratio of medians well below 1, a share below the test images' 1 % quantile above 1 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from textgan.metrics.features import Features
from textgan.metrics.manifold import squared_distances


@dataclass(frozen=True, slots=True)
class Memorisation:
    """How near samples are to training images, against how near test images are."""

    ratio: float
    """Median distance of samples over median distance of test images."""
    nearer_than_test: float
    """Share of samples nearer to a training image than 99 % of test images are; 0.01 where nothing is copied."""
    train_images: int
    nearest: tuple[tuple[int, int], ...]
    """(sample, training image) of the closest pairs, the closest first."""


def memorisation(fake: Features, test: Features, train: Features, shown: int = 8) -> Memorisation:
    """Euclidean distances in feature space [N,D], [M,D], [T,D]."""
    samples, places = nearest(fake, train)
    reals, _ = nearest(test, train)
    order = np.argsort(samples, kind="stable")[:shown]
    return Memorisation(
        ratio=float(np.median(samples) / max(float(np.median(reals)), 1e-12)),
        nearer_than_test=float(np.mean(samples < np.quantile(reals, 0.01))),
        train_images=len(train),
        nearest=tuple((int(row), int(places[row])) for row in order),
    )


def nearest(queries: Features, references: Features) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest reference and its place, [N] each."""
    centre = references.mean(axis=0, dtype=np.float64)
    distances = squared_distances(queries - centre, references - centre)
    places = distances.argmin(axis=1)
    return np.sqrt(distances[np.arange(len(queries)), places]), places
