"""Intervals as text, and the band of chance for several tests at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

from textgan.report.digits import significant

LUCK = 0.05
"""How often a control may fail by luck alone, over all its tests together."""


def widened(chance: Mapping[str, Any], tests: int, most: float | None = 1.0) -> tuple[float, float]:
    """The band of chance, of 95 % for one test, widened so that `tests` of them miss by luck in 5 % (Bonferroni).

    `most`: what a score can be at most, 1 for a share; None where nothing bounds it.
    """
    normal = NormalDist()
    by = normal.inv_cdf(1 - LUCK / 2 / tests) / normal.inv_cdf(1 - LUCK / 2)
    low, value, high = chance["low"], chance["value"], chance["high"]
    above = value + by * (high - value)
    return max(0.0, value - by * (value - low)), above if most is None else min(most, above)


def span(entry: Mapping[str, Any], write: Callable[[float], str] = significant) -> str:
    """`0.633 [0.593 to 0.672]`, on one line."""
    text = f"{write(entry['value'])} [{write(entry['low'])} to {write(entry['high'])}]"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def share(value: float) -> str:
    """Per cent with one decimal."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"
