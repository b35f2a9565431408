"""Does the generator copy its training images: nearest neighbours, and distances beside those of real pictures.

For each sample the distance to its nearest training image; the same for each test image, which
cannot have been copied. Copying shows as samples that are nearer to training images than test
images are: a ratio of medians well below 1, a share below the test images' 1 % quantile above 1 %.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgan.metrics.features import Features
from textgan.metrics.manifold import squared_distances
from textgan.seeds import derive_seed

RESAMPLES = 500
BLOCK = 1000
"""Queries at once: of 20,000 references their distances take 160 MB."""


@dataclass(frozen=True, slots=True)
class Distances:
    """From samples and from test images to their nearest training images."""

    samples: NDArray[np.float64]
    places: NDArray[np.int64]
    """Of the samples' nearest training images."""
    reals: NDArray[np.float64]
    train_images: int

    @property
    def threshold(self) -> float:
        """99 % of the test images are farther from training than this."""
        return float(np.quantile(self.reals, 0.01))

    @property
    def nearer_than_test(self) -> float:
        """Share of the samples nearer than that."""
        return float(np.mean(self.samples < self.threshold))

    def with_samples(self, rows: NDArray[np.int64], others: Features, train: Features) -> Distances:
        """The same where other pictures have taken the place of some samples."""
        samples, places = self.samples.copy(), self.places.copy()
        samples[rows], places[rows] = nearest(others, train)
        return dataclasses.replace(self, samples=samples, places=places)


@dataclass(frozen=True, slots=True)
class Memorisation:
    """How near samples are to training images, against how near test images are."""

    ratio: float
    """Median distance of samples over median distance of test images."""
    ratio_low: float
    ratio_high: float
    """95 %: samples and test images drawn again."""
    nearer_than_test: float
    """Share of samples nearer to a training image than 99 % of test images are; 0.01 where nothing is copied."""
    train_images: int


def distances(fake: Features, test: Features, train: Features) -> Distances:
    """Euclidean distances in feature space: [N,D], [M,D], [T,D]."""
    samples, places = nearest(fake, train)
    return Distances(samples, places, nearest(test, train)[0], len(train))


def memorisation(found: Distances, seed: int) -> Memorisation:
    """The numbers."""
    rng = np.random.default_rng(derive_seed(seed, "bootstrap", "copies"))
    samples, reals = (
        np.median(one[rng.integers(0, len(one), (RESAMPLES, len(one)))], axis=1) for one in (found.samples, found.reals)
    )
    low, high = np.quantile(samples / reals.clip(min=1e-12), (0.025, 0.975))
    return Memorisation(
        ratio=float(np.median(found.samples) / max(float(np.median(found.reals)), 1e-12)),
        ratio_low=float(low),
        ratio_high=float(high),
        nearer_than_test=found.nearer_than_test,
        train_images=found.train_images,
    )


def nearest(queries: Features, references: Features) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance to the nearest reference and its place, [N] each."""
    centre = references.mean(axis=0, dtype=np.float64)
    to, found, places = references - centre, [], []
    for start in range(0, len(queries), BLOCK):
        squares = squared_distances(queries[start : start + BLOCK] - centre, to)
        places.append(squares.argmin(axis=1))
        found.append(np.sqrt(squares.min(axis=1)))
    return np.concatenate(found), np.concatenate(places)
