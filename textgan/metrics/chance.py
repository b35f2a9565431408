"""What chance gives, with its interval of 95 %: the same scores where prompts are dealt out anew, many times.

An interval of the model's own score takes pictures for independent; those of one z under two languages are not.
Dealing whole groups keeps what hangs together together, and asks for no formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from textgan.metrics.intervals import Interval
from textgan.seeds import derive_seed

DEALS = 2000
SILENT, NOT_SEEN = -1, -2
"""In place of a value: a prompt does not say the fact; of a picture it is not measured. Neither is ever the other."""
Array = NDArray[np.float64]
Facts = Mapping[str, str]


def chance_of_facts(
    prompts: Sequence[Facts],
    measured: Sequence[Facts],
    names: Sequence[str],
    groups: Sequence[int],
    seed: int,
    what: str,
) -> Interval:
    """Share of pictures with every one of these facts right, where each group of pictures gets a random one's prompt.

    Prompts that say none of the facts do not count. Pictures of a group have prompts that say the same facts.
    """
    _, first, group = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    asked = np.empty((len(first), len(names)), dtype=np.int64)  # [G,F]
    found = np.empty((len(measured), len(names)), dtype=np.int64)  # [N,F]
    for column, name in enumerate(names):
        values = {facts[name] for facts in (*prompts, *measured) if name in facts}
        numbers = {value: number for number, value in enumerate(sorted(values))}
        asked[:, column] = [numbers.get(prompts[place].get(name, ""), SILENT) for place in first]
        found[:, column] = [numbers.get(facts.get(name, ""), NOT_SEEN) for facts in measured]
    rng = np.random.default_rng(derive_seed(seed, "chance", what))
    shares = np.empty(DEALS)
    for deal in range(DEALS):
        dealt = asked[rng.permutation(len(asked))][group]
        said = dealt != SILENT
        right = ((dealt == found) | ~said).all(axis=1) & said.any(axis=1)
        shares[deal] = right.sum() / max(1, said.any(axis=1).sum())
    return _spread(shares)


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


def chance_of_pairs(scores: Array, seed: int, what: str) -> Interval:  # [N,N]
    """The mean score where each picture (row) gets the caption (column) of a random one."""
    rng = np.random.default_rng(derive_seed(seed, "chance", what))
    rows = np.arange(len(scores))
    return _spread(np.asarray([scores[rows, rng.permutation(len(scores))].mean() for _ in range(DEALS)]))


def _spread(values: Array) -> Interval:
    low, high = np.quantile(values, (0.025, 0.975))
    return Interval(float(values.mean()), float(low), float(high))
