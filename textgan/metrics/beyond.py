"""Beyond the averages: diversity, smoothness, kinds apart, the worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from textgan.metrics.agreement import Facts
from textgan.metrics.features import Extractor, Images, extract, extract_cached
from textgan.metrics.kernel import MIN_IMAGES, kernels, kid
from textgan.metrics.latent import diversity, walk
from textgan.metrics.prompts import Prompts, read_by
from textgan.metrics.sheets import Sheets
from textgan.metrics.suite import References, count_name
from textgan.sampling import Snapshot

STEPS = 8
SHOWN = 16


def by_kind(references: References, fake: Images, prompts: Prompts, extractor: Extractor, seed: int) -> dict[str, Any]:
    """KID of each kind alone, with its floor and the name that it has among the metrics."""
    features = {
        "test": extract_cached(references.test, extractor, "test images"),
        "train": extract_cached(references.train, extractor, "train images"),
        "fake": extract_cached(fake, extractor, "generated images"),
    }
    kinds = {
        "test": references.test_kinds,
        "train": references.train_kinds,
        "fake": [facts.get("kind", "") for facts in prompts.facts],
    }
    results: dict[str, Any] = {}
    for kind in sorted(set(kinds["test"]) - {""}):
        part = {side: features[side][np.asarray([other == kind for other in kinds[side]])] for side in features}
        if min(map(len, part.values())) >= MIN_IMAGES:
            value = kid(kernels(part["test"], part["fake"]), seed)
            floor = kid(kernels(part["test"], part["train"]), seed, resamples=2)
            results[kind] = {
                "name": f"kid{count_name(len(part['fake']))}_{extractor.name}_test_{kind}",
                "kid": value.value, "low": value.low, "high": value.high, "floor": floor.value,
                "images": len(part["fake"]),
            }  # fmt: skip
    return results


def within_prompts(rows: Sequence[Images], kinds: Sequence[str], references: References, extractor: Extractor) -> float:
    """Diversity of the grid's rows, relative to real pictures of their kinds."""
    test = extract_cached(references.test, extractor, "test images")
    real = {
        kind: test[np.asarray([other == kind for other in references.test_kinds])]
        for kind in set(references.test_kinds)
    }
    features = extract(np.concatenate(rows), extractor, "the grid's samples")
    return diversity(np.split(features, len(rows)), real, kinds)


def walks(snapshot: Snapshot, asked: Prompts, places: Sequence[int], extractor: Extractor, sheets: Sheets) -> float:
    """Mean unevenness over a few prompts, and the walks as a sheet."""
    prompts = read_by(snapshot, asked)
    found = [walk(snapshot, prompts[place], (0, 1), STEPS, extractor) for place in places]
    sheets.rows(
        "interpolation",
        [one.images for one in found],
        [asked.texts[place] for place in places],
        [asked.languages[place] for place in places],
    )
    return float(np.mean([one.unevenness for one in found]))


def worst(asked: Prompts, wanted: Sequence[Facts], measured: Sequence[Facts], pictures: Images, sheets: Sheets) -> None:
    """The pictures with the most wrong facts, on purpose."""
    wrong = [
        [name for name, value in facts.items() if seen.get(name) != value]
        for facts, seen in zip(wanted, measured, strict=True)
    ]
    order = sorted(range(len(wrong)), key=lambda place: (-len(wrong[place]), place))[:SHOWN]
    texts = [f"{asked.texts[place]} ({', '.join(wrong[place]) or 'nothing'} wrong)" for place in order]
    sheets.tiles("worst", pictures[order], texts)
