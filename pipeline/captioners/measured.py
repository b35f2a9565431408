"""The captioner `measured`: says what can be measured in a photo, and is silent where it is unsure.

TEXTGAN_WORKERS pictures (default: the cores) are looked at side by side, each alone and with one thread of each
network: what is said of a picture depends neither on its company nor on the number of workers.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline import engines, imaging
from pipeline.captioners import Claims, Picture, kind_of_export, probes
from pipeline.captioners.classifier import CLASSES, classify
from pipeline.captioners.evidence import evidence, object_mask
from pipeline.captioners.saliency import saliency
from textgan.facts.schema import VALUES, Fact

KIND_MARGIN = 2.0
"""Logits by which the best class of one kind must pass the best of the other, where the export does not tell."""


class MeasuredCaptioner:
    """Kind from the export's name or the classifier; other facts from probes, above a threshold for each."""

    name = "measured/7"
    looks = True

    def __init__(self, thresholds: Mapping[str, Mapping[str, float]]) -> None:
        """`thresholds`: kind -> fact -> least probability at which it is said; what is not listed is not said.

        `colour_small` counts instead of `colour` where the picture is small.
        """
        self.thresholds = thresholds

    def caption(self, pictures: Sequence[Picture]) -> list[Claims]:
        """The claims for each picture."""
        return list(_threads().map(self._claims, pictures))

    def _claims(self, picture: Picture) -> Claims:
        assert picture.pixels is not None, "measured needs pixels"
        seen = classify(picture.pixels)
        kind = kind_of_export(picture.export) or seen_kind(seen.logits)
        if kind is None:
            return Claims()
        if not self.thresholds.get(kind.value):  # nothing but the kind may be said: no need to look for the object
            return Claims((kind,))
        mask = object_mask(saliency(picture.pixels), seen.features, kind.value)
        small = min(picture.pixels.shape[:2]) < probes.SMALL_PX
        return Claims((kind, *self._facts(kind.value, evidence(picture.pixels, mask, seen.features), small)))

    def _facts(self, kind: str, found: np.ndarray, small: bool) -> list[Fact]:
        facts, thresholds = [], self.thresholds.get(kind, {})
        for fact in sorted(name for name in thresholds if not name.endswith(probes.SMALL)):
            value, probability = probes.load()[kind, fact].best(found)
            least = thresholds.get(fact + probes.SMALL, thresholds[fact]) if small else thresholds[fact]
            if probability >= least and value in VALUES[fact]:
                facts.append(Fact(fact, value, round(probability, 4), "probe"))
        return facts


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads suffice: both networks run outside of the interpreter's lock."""
    return ThreadPoolExecutor(engines.worker_count(), "captions", initializer=imaging.use_one_thread)


def seen_kind(logits: np.ndarray) -> Fact | None:  # [1000]
    """The kind that the classifier sees, if it is sure and the best class of all is of that kind."""
    best = {kind: float(logits[list(classes)].max()) for kind, classes in CLASSES.items()}
    kind, other = sorted(best, key=lambda name: -best[name])
    if best[kind] - best[other] < KIND_MARGIN or int(logits.argmax()) not in CLASSES[kind]:
        return None
    odds = np.exp(logits - logits.max())
    probability = float(odds[list(CLASSES[kind])].sum() / odds.sum())
    return Fact("kind", kind, round(min(probability, 1.0), 4), "classifier")
