"""The captioner `measured`: says what can be measured in a photo, and is silent where it is unsure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.captioners import Claims, Picture, kind_of_export, probes
from pipeline.captioners.classifier import CLASSES, classify
from pipeline.captioners.evidence import evidence, object_mask
from pipeline.captioners.saliency import saliency
from textgan.facts.schema import VALUES, Fact

KIND_MARGIN = 2.0
"""Logits by which the best class of one kind must pass the best of the other, where the export does not tell."""


class MeasuredCaptioner:
    """Kind from the export's name or the classifier; other facts from probes, above a threshold for each."""

    name = "measured/2"
    looks = True

    def __init__(self, thresholds: Mapping[str, Mapping[str, float]]) -> None:
        """`thresholds`: kind -> fact -> least probability at which it is said; what is not listed is not said."""
        self.thresholds = thresholds

    def caption(self, pictures: Sequence[Picture]) -> list[Claims]:
        """The claims for each picture."""
        pixels = [picture.pixels for picture in pictures if picture.pixels is not None]
        assert len(pixels) == len(pictures), "measured needs pixels"
        seen = classify(pixels)
        claims = []
        for idx, picture in enumerate(pictures):
            kind = kind_of_export(picture.export) or seen_kind(seen.logits[idx])
            facts: tuple[Fact, ...] = ()
            if kind is not None:
                features = seen.features[idx]
                mask = object_mask(saliency(pixels[idx]), features, kind.value)
                facts = (kind, *self._facts(kind.value, evidence(pixels[idx], mask, features)))
            claims.append(Claims(facts))
        return claims

    def _facts(self, kind: str, found: np.ndarray) -> list[Fact]:
        facts = []
        for fact, threshold in sorted(self.thresholds.get(kind, {}).items()):
            value, probability = probes.load()[kind, fact].best(found)
            if probability >= threshold and value in VALUES[fact]:
                facts.append(Fact(fact, value, round(probability, 4), "probe"))
        return facts


def seen_kind(logits: np.ndarray) -> Fact | None:  # [1000]
    """The kind that the classifier sees, if it is sure and the best class of all is of that kind."""
    best = {kind: float(logits[list(classes)].max()) for kind, classes in CLASSES.items()}
    kind, other = sorted(best, key=lambda name: -best[name])
    if best[kind] - best[other] < KIND_MARGIN or int(logits.argmax()) not in CLASSES[kind]:
        return None
    odds = np.exp(logits - logits.max())
    probability = float(odds[list(CLASSES[kind])].sum() / odds.sum())
    return Fact("kind", kind, round(min(probability, 1.0), 4), "classifier")
