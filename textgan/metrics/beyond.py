"""Beyond the averages: kinds apart, and the worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from textgan.metrics.agreement import Facts
from textgan.metrics.corruptions import blur
from textgan.metrics.features import Extractor, Images, extract_cached
from textgan.metrics.kernel import MIN_IMAGES, kernels, kid
from textgan.metrics.prompts import Prompts
from textgan.metrics.sheets import Sheets
from textgan.metrics.suite import BLUR_SIGMA, References, count_name, few

SHOWN = 16


def by_kind(
    references: References, fake: Images, prompts: Prompts, extractor: Extractor, seed: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """KID of each kind alone, with its floor, its own ruins and its name among the metrics; and why some have none."""
    features = {
        "test": extract_cached(references.test, extractor, "test images"),
        "train": extract_cached(references.train, extractor, "train images"),
        "blurred": extract_cached(blur(references.train, BLUR_SIGMA), extractor, "blurred train images"),
        "fake": extract_cached(fake, extractor, "generated images"),
    }
    kinds = {
        "test": references.test_kinds,
        "train": references.train_kinds,
        "blurred": references.train_kinds,
        "fake": [facts.get("kind", "") for facts in prompts.facts],
    }
    results: dict[str, Any] = {}
    not_computed: dict[str, str] = {}
    for kind in sorted(set(kinds["test"]) - {""}):
        part = {side: features[side][np.asarray([other == kind for other in kinds[side]])] for side in features}
        fewest = min(part, key=lambda side: len(part[side]))
        if len(part[fewest]) < MIN_IMAGES:
            not_computed[f"kid*_{extractor.name}_test_{kind}"] = (
                f"KID of one kind needs {MIN_IMAGES} images of it; among the {fewest} ones there are"
                f" {len(part[fewest])}."
            )
            continue
        value = kid(kernels(part["test"], part["fake"]), seed)
        ruined = {"blurred": part["blurred"], "collapsed": part["train"][few(len(part["train"]))]}
        others = features["train"][np.asarray([other != kind for other in kinds["train"]])]
        if len(others) >= MIN_IMAGES:
            ruined["other_kind"] = others
        floor, *ceilings = (kid(kernels(part["test"], one), seed, 2).value for one in (part["train"], *ruined.values()))
        results[kind] = {
            "name": f"kid{count_name(len(part['fake']))}_{extractor.name}_test_{kind}",
            "kid": value.value, "low": value.low, "high": value.high, "deviation": value.deviation, "floor": floor,
            "ceilings": dict(zip(ruined, ceilings, strict=True)), "images": len(part["fake"]),
        }  # fmt: skip
    return results, not_computed


def worst(asked: Prompts, wanted: Sequence[Facts], measured: Sequence[Facts], pictures: Images, sheets: Sheets) -> None:
    """The pictures with the most wrong facts, on purpose."""
    wrong = [
        [name for name, value in facts.items() if seen.get(name) != value]
        for facts, seen in zip(wanted, measured, strict=True)
    ]
    order = sorted(range(len(wrong)), key=lambda place: (-len(wrong[place]), place))[:SHOWN]
    texts = [f"{asked.texts[place]} ({', '.join(wrong[place]) or 'nothing'} wrong)" for place in order]
    sheets.tiles("worst", pictures[order], texts)
