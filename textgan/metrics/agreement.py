"""Does the picture show what its prompt says: facts re-measured on samples, fact by fact.

The control that must fail: the same pictures against other prompts. Over all pairs of a picture
with another prompt its expectation has an exact value, the control's expectation; and the prompt
base rate is what anything that does not listen gets: how often two prompts say the same value.

Intervals are over independent units (`prompts.units`): pictures of one z in two languages are one witness, and those
of one held-out combination share what is hard about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textgan.facts.schema import VALUES, Fact
from textgan.metrics.chance import chance_of_facts
from textgan.metrics.intervals import Interval, share_of_units
from textgan.seeds import derive_seed

NOT_SEEN = "(none)"
"""Row or column of what the measurer does not say of a picture; it counts as wrong."""
Facts = dict[str, str]


@dataclass(frozen=True, slots=True)
class FactAgreement:
    """One fact over all pictures whose prompt says it."""

    name: str
    matched: Interval
    """Right share, pictures with their own prompts."""
    shuffled: Interval
    """The control: pictures with the prompts of others."""
    shuffled_exact: float
    """The control's expectation over all pairs of a picture with another one's prompt."""
    chance: Interval
    """The same over prompts dealt out anew many times: what a generator that does not listen may get by luck."""
    base_rate: float
    """How often two prompts drawn at random say the same value."""
    count: int
    values: tuple[str, ...]
    """Labels of the confusion matrix; the last is `(none)`."""
    confusion: tuple[tuple[int, ...], ...]
    """[prompt's value][measured value] -> pictures."""


def best_values(facts: Sequence[Fact]) -> Facts:
    """Measured facts as name -> value; the most confident one where a name comes twice."""
    ordered = sorted(facts, key=lambda fact: fact.confidence)
    return {fact.name: fact.value for fact in ordered}


def derangement(count: int, seed: int) -> list[int]:
    """A seeded cyclic order: everyone gets another's place. A single one keeps its own."""
    order = np.random.default_rng(derive_seed(seed, "shuffle")).permutation(count)
    other = np.empty(count, dtype=np.int64)
    other[order] = np.roll(order, 1)
    return [int(place) for place in other]


def agreement(
    prompts: Sequence[Facts],
    measured: Sequence[Facts],
    seed: int,
    groups: Sequence[int] | None = None,  # of the same z and facts in several languages; by default each is its own
    units: Sequence[int] | None = None,  # that are independent of each other, for the intervals; by default the groups
) -> list[FactAgreement]:
    """Fact by fact, in the schema's order; facts that no prompt says are left out."""
    assert len(prompts) == len(measured)
    groups = range(len(prompts)) if groups is None else groups
    units = groups if units is None else units
    other = derangement(len(prompts), seed)
    shuffled = [prompts[place] for place in other]
    results = []
    for name in VALUES:
        wanted = _pairs(prompts, measured, name)
        if not wanted:
            continue
        labels = tuple(v for v in VALUES[name] if any(v in pair for pair in wanted)) + (NOT_SEEN,)
        counts = Counter(wanted)
        results.append(
            FactAgreement(
                name=name,
                matched=_share(_right(prompts, measured, name), units, seed, name),
                shuffled=_share(_right(shuffled, measured, name), units, seed, f"{name} shuffled"),
                shuffled_exact=_all_pairs(prompts, measured, name),
                chance=chance_of_facts(prompts, measured, (name,), groups, seed, name),
                base_rate=_base_rate([value for value, _ in wanted]),
                count=len(wanted),
                values=labels,
                confusion=tuple(tuple(counts[(row, column)] for column in labels) for row in labels[:-1]),
            )
        )
    return results


def _pairs(prompts: Sequence[Facts], measured: Sequence[Facts], name: str) -> list[tuple[str, str]]:
    """(said, seen) of every picture whose prompt says the fact."""
    both = zip(prompts, measured, strict=True)
    return [(facts[name], seen.get(name, NOT_SEEN)) for facts, seen in both if name in facts]


def _right(prompts: Sequence[Facts], measured: Sequence[Facts], name: str) -> list[bool | None]:
    """Of each picture: is the fact as its prompt says; None where the prompt does not say it."""
    both = zip(prompts, measured, strict=True)
    return [facts[name] == seen.get(name) if name in facts else None for facts, seen in both]


def _share(right: Sequence[bool | None], units: Sequence[int], seed: int, name: str) -> Interval:
    """The share that is right among those that are not None; units of pictures are drawn again for the interval."""
    counts: dict[int, list[int]] = {}
    for one, unit in zip(right, units, strict=True):
        if one is not None:
            own = counts.setdefault(unit, [0, 0])
            own[0] += one
            own[1] += 1
    return share_of_units([own[0] for own in counts.values()], [own[1] for own in counts.values()], seed, name)


def _base_rate(values: Sequence[str]) -> float:
    """P(two different prompts that say this fact say the same value)."""
    n = len(values)
    if n < 2:
        return 1.0
    return sum(count * (count - 1) for count in Counter(values).values()) / (n * (n - 1))


def _all_pairs(prompts: Sequence[Facts], measured: Sequence[Facts], name: str) -> float:
    """P(right) over every picture with every other picture's prompt that says the fact."""
    said = Counter(facts[name] for facts in prompts if name in facts)
    seen = Counter(facts.get(name, NOT_SEEN) for facts in measured)
    total = sum(said.values()) * len(measured) - sum(said.values())
    own = sum(facts[name] == found.get(name) for facts, found in zip(prompts, measured, strict=True) if name in facts)
    if total == 0:
        return 1.0
    return (sum(said[value] * seen[value] for value in said) - own) / total


@dataclass(frozen=True, slots=True)
class AllRight:
    """Every one of some facts at once: the share, its control and its chance, as of a single fact."""

    value: float
    low: float
    high: float
    shuffled: float
    chance: Interval
    count: int
    """Pictures whose prompt says at least one of the facts."""


def all_right(
    prompts: Sequence[Facts],
    measured: Sequence[Facts],
    names: Sequence[str],
    seed: int = 0,
    groups: Sequence[int] | None = None,
    units: Sequence[int] | None = None,
) -> AllRight:
    """Share of pictures in which every one of these facts that the prompt says is right.

    A prompt that says none of them is no success: it does not count.
    """
    groups = range(len(prompts)) if groups is None else groups
    units = groups if units is None else units
    own = _all_right(prompts, measured, names)
    other = [prompts[place] for place in derangement(len(prompts), seed)]
    share = _share(own, units, seed, "all right")
    return AllRight(
        share.value,
        share.low,
        share.high,
        shuffled=_share(_all_right(other, measured, names), units, seed, "all right shuffled").value,
        chance=chance_of_facts(prompts, measured, names, groups, seed, "all right"),
        count=sum(right is not None for right in own),
    )


def _all_right(prompts: Sequence[Facts], measured: Sequence[Facts], names: Sequence[str]) -> list[bool | None]:
    said = [[name for name in names if name in facts] for facts in prompts]
    rows = zip(prompts, measured, said, strict=True)
    return [all(seen.get(name) == facts[name] for name in own) if own else None for facts, seen, own in rows]
