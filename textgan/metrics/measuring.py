"""Who measures the facts of generated pictures: the measurer that fits how the data was made.

Drawn pictures have an exact one. For photos it is the captioner that wrote their captions; it belongs to the pipeline,
which nothing here imports, so it is asked as a program; where there is no pipeline, nothing is computed.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from textgan.errors import UserError
from textgan.facts.schema import Fact
from textgan.metrics.agreement import Facts, best_values
from textgan.metrics.features import Images
from textgan.params import CaptionsParams
from textgan.progress import Progress

BLOCK = 100
PROGRAM = "pipeline.remeasure"
SOURCE = "remeasured"


@dataclass(frozen=True, slots=True)
class Measurer:
    """A named function from pictures to facts."""

    name: str
    function: Callable[[Images], Sequence[Sequence[Fact]]]
    caveat: str | None = None
    """What must be said beside its numbers."""
    block: int = BLOCK
    """Pictures at once."""
    identity: dict[str, Any] = field(default_factory=dict)
    """Version, tables, thresholds and networks: part of the fingerprints. A program says them when it has measured."""

    def measure(self, images: Images) -> list[Facts]:
        """The facts of each picture as name -> value; what it does not say is absent."""
        progress = Progress(len(images), f"facts measured again ({self.name})")
        found: list[Facts] = []
        for start in range(0, len(images), self.block):
            block = images[start : start + self.block]
            found += [best_values(facts) for facts in self.function(block)]
            progress.update(len(block))
        progress.close()
        return found


WHY_NONE = {
    "model": "Agreement needs a measurer of facts; captions of the captioner model say none but the kind.",
    "annotations": "Agreement needs a measurer of facts; for annotated photos captions.measured names no threshold.",
    "pipeline": "Agreement on photos needs the package pipeline, which measures them; it is not installed here.",
}
CIRCULAR = (
    "The captions of these photos were measured by the same program: agreement says that a picture repeats what was"
    " measured in a photo, and nothing of whether that was true."
)


def measurer_of(dataset: str, captions: CaptionsParams, sources: Sequence[str]) -> tuple[Measurer | None, str]:
    """The measurer, or why there is none; `sources` are those of the captions' facts."""
    if "drawn" in sources:
        from textgan.facts.measure import identity, measure_drawn

        return Measurer("measure_drawn", measure_drawn, identity=identity()), ""
    if not captions.measured:
        return None, WHY_NONE["model" if captions.captioner == "model" else "annotations"]
    if importlib.util.find_spec(PROGRAM.partition(".")[0]) is None:
        return None, WHY_NONE["pipeline"]
    circular = captions.captioner == "measured" or "measured" in captions.order
    caveat = CIRCULAR if circular else None
    said: dict[str, Any] = {}
    return Measurer("measured", lambda images: measure_photos(dataset, images, said), caveat, 10_000, said), ""


def measure_photos(dataset: str, images: Images, identity: dict[str, Any]) -> list[list[Fact]]:
    """What the captioner of photos says of each picture, and (put into `identity`) which one it is.

    Raises UserError where its program fails.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        pictures, facts = Path(place) / "pictures.npy", Path(place) / "facts.json"
        np.save(pictures, images, allow_pickle=False)
        command = [sys.executable, "-m", PROGRAM, dataset, str(pictures), str(facts)]
        done = subprocess.run(command)
        if done.returncode != 0:
            raise UserError(f"python -m {PROGRAM} {dataset}: ended with {done.returncode}; its message is above")
        written = json.loads(facts.read_text(encoding="utf-8"))
    identity.update(written["identity"])
    print(f"{len(images)} pictures measured again in {time.monotonic() - began:.0f} s", flush=True)
    return [[Fact(name, value, confidence, SOURCE) for name, value, confidence in row] for row in written["facts"]]
