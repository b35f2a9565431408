"""The combinations that are never drawn: prompts for the test, of words that training knows one by one."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from textgan.facts.drawn import random_facts
from textgan.seeds import derive_seed

FILE = Path(__file__).with_name("heldout.json")


@functools.cache
def _load() -> tuple[tuple[tuple[str, str], ...], ...]:
    return tuple(tuple(sorted(facts.items())) for facts in json.loads(FILE.read_text(encoding="utf-8")))


def heldout() -> list[dict[str, str]]:
    """The held-out combinations, e.g. {"kind": "cat", "colour": "blue", "background": "yellow"}."""
    return [dict(facts) for facts in _load()]


def is_heldout(facts: dict[str, str]) -> bool:
    """Whether the facts of a picture contain a held-out combination."""
    items = facts.items()
    return any(items >= set(combination) for combination in _load())


def heldout_facts(seed: int, count: int) -> list[dict[str, str]]:
    """`count` full sets of facts that go through the held-out combinations in turn; the other facts are random."""
    combinations = heldout()
    chosen = (combinations[idx % len(combinations)] for idx in range(count))
    return [
        random_facts(fixed["kind"], derive_seed(seed, "heldout", "facts", idx), fixed)
        for idx, fixed in enumerate(chosen)
    ]
