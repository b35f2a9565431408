"""The captioner `measured`: says what can be measured in a photo, and is silent where it is unsure."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.captioners import Claims, Picture, kind_of_export
from textgan.facts.colour import measure_tone


class MeasuredCaptioner:
    """Kind from the export's name; background tone and light from the pixels."""

    name = "measured/1"
    looks = True

    def caption(self, pictures: Sequence[Picture]) -> list[Claims]:
        """The claims for each picture."""
        claims = []
        for picture in pictures:
            assert picture.pixels is not None
            kind = kind_of_export(picture.export)
            tones = [fact for fact in measure_tone(picture.pixels) if fact.name in ("background_tone", "light")]
            claims.append(Claims((*((kind,) if kind else ()), *tones)))
        return claims
