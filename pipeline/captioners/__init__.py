"""Captioners: what says what is in a picture. One protocol, several implementations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from textgan.facts.schema import VALUES, Fact


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a dataset, as a captioner sees it."""

    sample_key: str
    export: str
    pixels: np.ndarray | None
    """uint8 [H,W,3]; None for captioners that do not look."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a captioner says of one picture: facts, and captions of its own by language."""

    facts: tuple[Fact, ...] = ()
    captions: dict[str, list[str]] = field(default_factory=dict)


class Captioner(Protocol):
    """Batches of pictures in, claims out; deterministic, whatever the batches are."""

    name: str
    """Name and version, e.g. `measured/1`; another version makes captions stale."""
    looks: bool
    """Whether it needs pixels."""

    def caption(self, pictures: Sequence[Picture]) -> list[Claims]:
        """The claims for each picture, in order."""
        ...


def kind_of_export(export: str) -> Fact | None:
    """The kind that an export's name tells: `cat`, `lsun-cat` and `cat-val` hold cats."""
    kinds = [part for part in export.split("-") if part in VALUES["kind"]]
    return Fact("kind", kinds[0], 1.0, "export") if len(kinds) == 1 else None
