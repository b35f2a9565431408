"""Who measures the facts of generated pictures: the measurer that fits how the data was made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textgan.facts.schema import Fact
from textgan.metrics.agreement import Facts, best_values
from textgan.metrics.features import Images
from textgan.progress import Progress

BLOCK = 100


@dataclass(frozen=True, slots=True)
class Measurer:
    """A named function from pictures to facts."""

    name: str
    function: Callable[[Images], Sequence[Sequence[Fact]]]

    def measure(self, images: Images) -> list[Facts]:
        """The facts of each picture as name -> value; what it does not say is absent."""
        progress = Progress(len(images), f"facts measured again ({self.name})")
        found: list[Facts] = []
        for start in range(0, len(images), BLOCK):
            block = images[start : start + BLOCK]
            found += [best_values(facts) for facts in self.function(block)]
            progress.update(len(block))
        progress.close()
        return found


def measurer_of(captioner: str) -> Measurer | None:
    """Drawn pictures have an exact measurer; photos one that abstains; None where there is neither."""
    if captioner == "annotations":
        from textgan.facts.measure import measure_drawn

        return Measurer("measure_drawn", measure_drawn)
    return None
