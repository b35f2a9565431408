"""The captioner `merge`: an ordered mixture of others."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.captioners import Captioner, Claims, Picture
from textgan.facts.schema import Fact


class MergeCaptioner:
    """A fact is said by the first captioner that knows it; captions of all follow one another."""

    def __init__(self, captioners: Sequence[Captioner]) -> None:
        """`captioners`, the most trusted first."""
        self.captioners = captioners
        self.name = "merge/1:" + "+".join(captioner.name for captioner in captioners)
        self.looks = any(captioner.looks for captioner in captioners)

    def caption(self, pictures: Sequence[Picture]) -> list[Claims]:
        """The merged claims for each picture."""
        asked = [captioner.caption(pictures) for captioner in self.captioners]
        return [_merged(claims) for claims in zip(*asked, strict=True)]


def _merged(several: Sequence[Claims]) -> Claims:
    facts: dict[str, Fact] = {}
    captions: dict[str, list[str]] = {}
    for claims in several:
        for fact in claims.facts:
            facts.setdefault(fact.name, fact)
        for language, texts in claims.captions.items():
            captions.setdefault(language, []).extend(texts)
    return Claims(tuple(facts[name] for name in sorted(facts)), captions)
