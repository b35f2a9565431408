"""What chance gives, with its interval of 95 %: the same scores where prompts are dealt out anew, many times.

An interval of the model's own score takes pictures for independent; those of one z under two languages are not.
Dealing whole groups keeps what hangs together together, and asks for no formula.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from textgan.metrics.intervals import Interval
from textgan.seeds import derive_seed

DEALS = 2000
Array = NDArray[np.float64]


def chance_of_fact(
    said: Sequence[str | None], seen: Sequence[str], groups: Sequence[int], seed: int, name: str
) -> Interval:
    """Right share where each group of pictures gets the prompt of a random one; None is a prompt silent on the fact.

    Pictures of a group have prompts that say the same facts.
    """
    _, first, group = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    names: dict[str, int] = {value: number for number, value in enumerate(sorted({*seen, *filter(None, said)}))}
    asked = np.asarray([names[value] if (value := said[place]) is not None else -1 for place in first])  # [G]
    found = np.asarray([names[value] for value in seen])  # [N]
    rng = np.random.default_rng(derive_seed(seed, "chance", name))
    shares = np.empty(DEALS)
    for deal in range(DEALS):
        dealt = asked[rng.permutation(len(asked))][group]
        shares[deal] = (dealt == found).sum() / max(1, (dealt >= 0).sum())
    low, high = np.quantile(shares, (0.025, 0.975))
    return Interval(float(shares.mean()), float(low), float(high))


def expected_hits(scores: Array, wrong: NDArray[np.bool_], mismatched: int) -> Array:  # [N,N], [N,N] -> [N,N]
    """P(picture i scores caption j above `mismatched` random captions that are wrong of the image of j), exactly.

    Of M captions that are wrong (`wrong[j]`), r score higher: C(M-r, mismatched) / C(M, mismatched). NaN where M is
    too small.
    """
    count = len(scores)
    order = np.argsort(-scores, axis=1, kind="stable")
    higher = np.empty((count, count), dtype=np.int64)
    np.put_along_axis(higher, order, np.broadcast_to(np.arange(count), (count, count)), axis=1)
    hits = np.full((count, count), np.nan)
    tables: dict[int, Array] = {}
    for column in range(count):
        fitting = np.flatnonzero(~wrong[column])  # the caption itself among them, which is not above itself
        others = count - len(fitting)
        if others < mismatched:
            continue
        if others not in tables:
            tables[others] = _none_drawn(others, mismatched)
        rank = higher[:, column]
        hits[:, column] = tables[others][rank - (higher[:, fitting] < rank[:, None]).sum(axis=1)]
    return hits


def _none_drawn(others: int, drawn: int) -> Array:  # -> [others+1]
    """P(none of r marked ones is among `drawn` of `others`), for r = 0..others."""
    marked = np.arange(others + 1, dtype=np.float64)[:, None]
    steps = np.arange(drawn, dtype=np.float64)[None, :]
    return np.asarray(((others - marked - steps).clip(min=0) / (others - steps)).prod(axis=1))


def chance_of_retrieval(hits: Array, seed: int) -> Interval:
    """R-precision where each picture gets the caption of a random one."""
    rng = np.random.default_rng(derive_seed(seed, "chance", "r-precision"))
    rows = np.arange(len(hits))
    shares = np.asarray([hits[rows, rng.permutation(len(hits))].mean() for _ in range(DEALS)])
    low, high = np.quantile(shares, (0.025, 0.975))
    return Interval(float(shares.mean()), float(low), float(high))
