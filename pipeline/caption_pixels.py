"""Drawn pictures against their annotations: what the pixels alone say, and how often it is what was drawn.

The measurer's constants and its probe were chosen on pictures of other seeds (benchmarks/fit_kind_probe.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import caption_scores, imaging
from textgan.facts.drawn import SOURCE as DRAWN
from textgan.facts.measure import SIDE_PX, measure_drawn

PICTURES = 2000
"""At most this many, spread evenly: a few seconds."""
MAX_PIXELS = 1 << 28


def score_pixels(tables: Sequence[pa.Table], pictures: Iterable[tuple[str, bytes]]) -> dict[str, Any] | None:
    """Precision and coverage of each fact measured in drawn pictures; None where there are none to measure.

    `tables`: the captions of a split; only facts whose source is the drawer are asked for. `pictures`: (sample key,
    encoded image) of the split.
    """
    drawn: dict[str, dict[str, frozenset[str]]] = {}
    for table in tables:
        for row in table.select(["sample_key", "facts"]).to_pylist():
            facts = {fact["name"]: frozenset({fact["value"]}) for fact in row["facts"] if fact["source"] == DRAWN}
            if facts:
                drawn[row["sample_key"]] = facts
    keys = sorted(drawn)
    chosen = set(keys[:: -(-len(keys) // PICTURES)]) if keys else set()
    if not chosen:
        return None
    found = [(key, imaging.decode(encoded, MAX_PIXELS)) for key, encoded in pictures if key in chosen]
    height, width = found[0][1].shape[:2]
    if height != width or height < SIDE_PX:
        return None
    measured = measure_drawn(np.stack([pixels for _key, pixels in found]))
    claims = [
        ((key,), {fact.name: fact.value for fact in facts})
        for (key, _pixels), facts in zip(found, measured, strict=True)
    ]
    scores = caption_scores.score(claims, drawn)
    return {
        "pictures": len(found),
        "facts": {name: score.as_dict() for name, score in scores.items() if score.said},
    }
