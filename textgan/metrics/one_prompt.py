"""What z does under one prompt: how far its pictures spread, and how evenly they change on the way between two z.

Each over several prompts, which are drawn again for the interval: those of the grid, and others by lot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from textgan.metrics.features import Extractor, Images, extract, extract_cached
from textgan.metrics.intervals import mean_interval
from textgan.metrics.latent import mean_distance, steps_of, walk
from textgan.metrics.prompts import Prompts, by_lot, read_by
from textgan.metrics.sheets import Sheets
from textgan.metrics.suite import References
from textgan.sampling import Snapshot, generate

FEW_PROMPTS = 24
SHOWN_WALKS = 4
STEPS = 8
STILL = 0.02
"""Ends of a walk nearer than this part of the distance between two real pictures: nothing moved."""


def pictures_of_prompts(
    snapshot: Snapshot, asked: Prompts, grid: Sequence[int], seeds: Sequence[int]
) -> tuple[list[int], dict[int, Images]]:
    """Places of the prompts that are measured, and the pictures of each of them and of the grid, one of each seed."""
    read = read_by(snapshot, asked)
    places = by_lot(asked, grid, max(FEW_PROMPTS, len(grid)))
    return places, {
        place: generate(snapshot, [read[place]] * len(seeds), seeds) for place in dict.fromkeys((*grid, *places))
    }


def of_z(
    snapshot: Snapshot,
    asked: Prompts,
    places: Sequence[int],
    pictures: dict[int, Images],
    references: References,
    extractor: Extractor,
    seed: int,
    sheets: Sheets,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Diversity within a prompt and the walks between two z; and why one of them is no number."""
    real = spreads(references, extractor)
    rows = [pictures[place] for place in places]
    kinds = [asked.facts[place].get("kind", "") for place in places]
    walked = walks(snapshot, asked, places, real, extractor, seed, sheets)
    spread = within_prompts(rows, kinds, real, extractor, seed) if len(rows[0]) > 1 else None
    reasons = {}
    if spread is None:
        reasons[f"diversity_{len(places)}_lite2"] = "Diversity needs two seeds of a prompt; evaluate.grid_seeds is 1."
    if walked["unevenness"] is None:
        reasons[f"unevenness_{len(places)}_lite2"] = (
            "Between two z nothing moves in any of the walks: there are no steps that could be even."
        )
    return {"diversity": spread, "interpolation": walked}, reasons


def z_names(found: dict[str, Any]) -> dict[str, float | None]:
    """The numbers that have a name of their own."""
    spread, walked = found["diversity"], found["interpolation"]
    uneven = walked["unevenness"]
    return {
        f"diversity_{walked['walks']}_lite2": spread["value"] if spread else None,
        f"unevenness_{walked['walks']}_lite2": uneven["value"] if uneven else None,
        f"ends_apart_{walked['walks']}_lite2": walked["ends_apart"]["value"],
    }


def spreads(references: References, extractor: Extractor) -> dict[str, float]:
    """Kind -> mean distance between two of its real test images; "" -> between any two, for a kind that is not here."""
    test = extract_cached(references.test, extractor, "test images")
    kinds = np.asarray(references.test_kinds)
    parts = {"": test, **{kind: test[kinds == kind] for kind in sorted(set(references.test_kinds) - {""})}}
    return {kind: mean_distance(part) for kind, part in parts.items() if len(part) > 1}


def within_prompts(
    rows: Sequence[Images], kinds: Sequence[str], real: dict[str, float], extractor: Extractor, seed: int
) -> dict[str, Any]:
    """Spread of the pictures of one prompt over that of real ones of its kind, on average; prompts are drawn again."""
    features = np.split(extract(np.concatenate(rows), extractor, "samples of one prompt"), len(rows))
    both = zip(features, kinds, strict=True)
    ratios = np.asarray([mean_distance(own) / real.get(kind, real[""]) for own, kind in both])
    return {**asdict(mean_interval(ratios, seed, "diversity")), "prompts": len(rows), "seeds": len(rows[0])}


def walks(
    snapshot: Snapshot,
    asked: Prompts,
    places: Sequence[int],  # of the prompts, those of the grid first
    real: dict[str, float],
    extractor: Extractor,
    seed: int,
    sheets: Sheets,
) -> dict[str, Any]:
    """Mean unevenness over prompts, how far the walks go, and the first of them as a sheet.

    A walk whose pictures all look alike has no steps to be even: it counts as still, and where all are still there is
    no unevenness. A generator that does not look at z would else be called perfectly smooth.
    """
    prompts = read_by(snapshot, asked)
    found = [walk(snapshot, prompts[place], (0, 1), STEPS) for place in places]
    lines = np.split(extract(np.concatenate(found), extractor, "pictures between two z"), len(found))
    uneven, ends = (np.asarray(one) for one in zip(*map(steps_of, lines), strict=True))
    kinds = [asked.facts[place].get("kind", "") for place in places]
    far = ends / np.asarray([real.get(kind, real[""]) for kind in kinds])
    moving = uneven[far >= STILL]
    sheets.rows(
        "interpolation",
        found[:SHOWN_WALKS],
        [asked.texts[place] for place in places[:SHOWN_WALKS]],
        [asked.languages[place] for place in places[:SHOWN_WALKS]],
    )
    return {
        "unevenness": asdict(mean_interval(moving, seed, "unevenness")) if len(moving) else None,
        "ends_apart": asdict(mean_interval(far, seed, "ends apart")),
        "walks": len(found),
        "still": len(found) - len(moving),
        "steps": STEPS - 1,
    }
