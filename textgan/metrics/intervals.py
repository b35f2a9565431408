"""Intervals of 95 %: Wilson's for shares, the bootstrap for means and for shares of what hangs together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgan.seeds import derive_seed

Z = 1.959964
"""Normal quantile of a two-sided interval of 95 %."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate between its bounds."""

    value: float
    low: float
    high: float


def wilson(right: int, total: int) -> Interval:
    """A share with Wilson's score interval (1927); of nothing, it may be anything."""
    if total == 0:
        return Interval(0.0, 0.0, 1.0)
    share = right / total
    centre = (share + Z * Z / (2 * total)) / (1 + Z * Z / total)
    half = Z * math.sqrt(share * (1 - share) / total + Z * Z / (4 * total * total)) / (1 + Z * Z / total)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def mean_interval(values: NDArray[Any], seed: int, name: str, resamples: int = 1000) -> Interval:
    """The mean of per-image values [N] with a bootstrap interval; `name` is the use of the seed."""
    rng = np.random.default_rng(derive_seed(seed, "bootstrap", name))
    picks = rng.integers(0, len(values), size=(resamples, len(values)))
    means = np.asarray(values, dtype=np.float64)[picks].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(np.mean(values)), float(low), float(high))


def share_of_units(right: Sequence[int], total: Sequence[int], seed: int, name: str, resamples: int = 1000) -> Interval:
    """A share of pictures that come in independent units: `right[u]` of `total[u]`, whole units drawn again.

    Units of one picture each have Wilson's interval. So have units that are all right, or all wrong, or right in equal
    parts: drawn again, they would claim to be sure; the interval is then that of so many units. Of a single unit
    nothing can be said.
    """
    rights, totals = np.asarray(right, dtype=np.float64), np.asarray(total, dtype=np.float64)
    share = float(rights.sum() / max(totals.sum(), 1.0))
    if len(totals) == 0 or (totals == 1).all():
        return wilson(int(rights.sum()), len(totals))
    if len(totals) == 1:
        return Interval(share, 0.0, 1.0)
    if len(np.unique(rights[totals > 0] / totals[totals > 0])) == 1:
        own = wilson(round(share * len(totals)), len(totals))
        return Interval(share, own.low, own.high)
    rng = np.random.default_rng(derive_seed(seed, "bootstrap", name))
    picks = rng.integers(0, len(totals), size=(resamples, len(totals)))
    low, high = np.quantile(rights[picks].sum(axis=1) / totals[picks].sum(axis=1), (0.025, 0.975))
    return Interval(share, float(low), float(high))
