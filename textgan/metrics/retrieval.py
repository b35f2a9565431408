"""R-precision (Xu et al. 2018, AttnGAN) with its rules written down.

For each image: its own caption and 99 of others, scored by the matcher; right if its own scores
highest. A caption is a mismatch of an image only where its words contradict what is known of the image: `a red cat`
is true of every red cat, and no mistake. Ten folds, each with other mismatched captions; beside it the same for real
images (what the matcher can do at best) and for images with others' captions (chance: 1 %).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgan.errors import UserError
from textgan.metrics.agreement import Facts
from textgan.metrics.chance import chance_of_pairs, expected_hits
from textgan.metrics.intervals import Interval, mean_interval
from textgan.seeds import derive_seed
from textgan.text import words

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
    """Different captions (by their words) among those compared."""
    fact_sets: int
    """Different sets of facts that their images have."""
    masked: float
    """Other captions that are no mismatch of an image, on average."""
    chance: Interval
    """The same over captions dealt out anew many times."""


def mismatches(texts: Sequence[str], facts: Sequence[Facts]) -> NDArray[np.bool_]:  # -> [image,caption]
    """Which captions are wrong of which images: some fact that the words tell has another value in the image.

    Of a caption whose words tell nothing that the grammars know, the facts of its own image stand in.
    """
    from textgan.facts.reading import said

    wrong = np.zeros((len(facts), len(texts)), dtype=bool)
    told = [said(words(text)) or {name: frozenset((value,)) for name, value in own.items()}
            for text, own in zip(texts, facts, strict=True)]  # fmt: skip
    for name in sorted({name for one in told for name in one}):
        values = np.asarray([own.get(name, "") for own in facts])
        for given in {one[name] for one in told if name in one}:
            contradicted = (values != "") & ~np.isin(values, sorted(given))
            wrong |= contradicted[:, None] & np.asarray([one.get(name) == given for one in told])[None, :]
    np.fill_diagonal(wrong, False)  # an image's own caption is never wrong of it
    return wrong


def why_not(wrong: NDArray[np.bool_]) -> str | None:
    """Why R-precision cannot be computed on captions of which these are wrong; None where it can."""
    fewest = int(wrong.sum(axis=1).min())
    if fewest >= MISMATCHED:
        return None
    return (
        f"R-precision needs {MISMATCHED} captions that are wrong of a picture; among {len(wrong)} captions there is a"
        f" picture with only {fewest}."
    )


def r_precision(
    image_features: NDArray[np.floating],  # unit [N,D]
    text_features: NDArray[np.floating],  # unit [N,D], of the images' own captions
    wrong: NDArray[np.bool_],  # [N,N], of `mismatches`
    seed: int,
    distinct: int = 0,
    fact_sets: int = 0,
) -> RPrecision:
    """Raises UserError where an image has fewer than 99 captions that are wrong of it."""
    reason = why_not(wrong)
    if reason is not None:
        raise UserError(reason)
    scores = np.asarray(image_features, dtype=np.float64) @ np.asarray(text_features, dtype=np.float64).T  # [N,N]
    hits = np.zeros((FOLDS, len(scores)))
    for row in range(len(scores)):
        candidates = np.flatnonzero(wrong[row])
        rng = np.random.default_rng(derive_seed(seed, "r-precision", row))
        for fold in range(FOLDS):
            others = rng.choice(candidates, MISMATCHED, replace=False)
            hits[fold, row] = scores[row, row] > scores[row, others].max()
    folds = hits.mean(axis=1)
    over_images = mean_interval(hits.mean(axis=0), seed, "r-precision")
    return RPrecision(
        value=float(folds.mean()),
        deviation=float(folds.std()),
        low=over_images.low,
        high=over_images.high,
        distinct=distinct,
        fact_sets=fact_sets,
        masked=float((~wrong).sum(axis=1).mean() - 1),
        chance=chance_of_pairs(expected_hits(scores, wrong, MISMATCHED), seed, "r-precision"),
    )
