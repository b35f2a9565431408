"""R-precision (Xu et al. 2018, AttnGAN) with its rules written down.

For each image: its own caption and 99 of others, scored by the matcher; right if its own scores
highest. Captions that say the same facts as the image's own are masked (they are no mistakes).
Ten folds, each with other mismatched captions; beside it the same for real images (what the
matcher can do at best) and for images with others' captions (chance: 1 %).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgan.errors import UserError
from textgan.metrics.chance import chance_of_retrieval, expected_hits
from textgan.metrics.intervals import Interval
from textgan.seeds import derive_seed

MISMATCHED = 99
FOLDS = 10


@dataclass(frozen=True, slots=True)
class RPrecision:
    """Mean and deviation over folds, and the interval over images."""

    value: float
    deviation: float
    low: float
    high: float
    distinct: int
    """Different captions (by what they say) among those compared."""
    chance: Interval
    """The same over captions dealt out anew many times."""


def why_not(said: list[str]) -> str | None:
    """Why R-precision cannot be computed on captions that say these things; None where it can."""
    counts = Counter(said)
    fewest = len(said) - max(counts.values())
    if fewest >= MISMATCHED:
        return None
    return (
        f"R-precision needs {MISMATCHED} captions that say other things; among {len(said)} captions, which say"
        f" {len(counts)} different things, some have only {fewest}."
    )


def r_precision(
    image_features: NDArray[np.floating], text_features: NDArray[np.floating], said: list[str], seed: int
) -> RPrecision:
    """Unit features [N,D] of images and their captions; `said[i]` names what caption i says.

    Raises UserError where some caption has fewer than 99 that say other things.
    """
    scores = np.asarray(image_features, dtype=np.float64) @ np.asarray(text_features, dtype=np.float64).T  # [N,N]
    _, groups = np.unique(np.asarray(said), return_inverse=True)
    hits = np.zeros((FOLDS, len(scores)))
    for row in range(len(scores)):
        candidates = np.flatnonzero(groups != groups[row])
        if len(candidates) < MISMATCHED:
            rule = f"{len(candidates)} captions that say other things; {MISMATCHED} are needed"
            raise UserError(f"R-precision: caption {row} has {rule}")
        rng = np.random.default_rng(derive_seed(seed, "r-precision", row))
        for fold in range(FOLDS):
            others = rng.choice(candidates, MISMATCHED, replace=False)
            hits[fold, row] = scores[row, row] > scores[row, others].max()
    folds, images = hits.mean(axis=1), hits.mean(axis=0)
    rng = np.random.default_rng(derive_seed(seed, "r-precision", "bootstrap"))
    means = images[rng.integers(0, len(images), size=(1000, len(images)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    chance = chance_of_retrieval(expected_hits(scores, said, MISMATCHED), seed)
    return RPrecision(float(folds.mean()), float(folds.std()), float(low), float(high), len(set(said)), chance)
