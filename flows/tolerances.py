"""docs/tolerances.json: how far the metrics of reruns were seen to lie apart, written by benchmarks/run_to_run.py.

For each preset: the runs that were made (seed and threads of the training), and for each metric of a dataset its value
in every run. The tolerance of a metric is the greatest difference between two of these runs: a rerun elsewhere is as
far away as another seed or another number of threads was seen to be, and no farther.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textgan.errors import UserError

PLACE = Path("docs/tolerances.json")
MIN_RUNS = 3
"""Two runs say nothing of a spread."""


@dataclass(frozen=True, slots=True)
class Tolerances:
    """{metric: greatest difference} of one dataset and where it comes from; empty: what is compared must be equal."""

    source: str = "no spread was measured"
    metrics: dict[str, float] = field(default_factory=dict)


def spread(values: list[float]) -> float:
    """The greatest difference between two runs."""
    return max((abs(one - other) for one, other in itertools.combinations(values, 2)), default=0.0)


def section(runs: list[dict[str, Any]], kimg: float) -> dict[str, Any]:
    """What the file holds of one preset's dataset; `runs`: {seed, threads, metrics}, of MIN_RUNS or more."""
    names = sorted(set.intersection(*(set(run["metrics"]) for run in runs)))
    numbers = [name for name in names if all(_is_number(run["metrics"][name]) for run in runs)]
    return {
        "total_kimg": kimg,
        "runs": [{key: run[key] for key in ("seed", "threads")} for run in runs],
        "values": {name: [run["metrics"][name] for run in runs] for name in numbers},
        "tolerance": {name: spread([run["metrics"][name] for run in runs]) for name in numbers},
    }


def load(preset: str, dataset: str, kimg: Any = None, place: Path = PLACE) -> Tolerances:
    """The tolerances of a dataset under a preset; none where the training was of another length."""
    try:
        value = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Tolerances()
    except ValueError as error:
        raise UserError(f"{place}: not JSON: {error}") from None
    found = value.get(preset, {}).get(dataset)
    if not found:
        return Tolerances(f"{place} has no preset {preset} with {dataset}")
    if kimg is not None and found["total_kimg"] != kimg:
        return Tolerances(f"{place} measured {found['total_kimg']} kimg, the commit trains {kimg}")
    if len(found["runs"]) < MIN_RUNS:
        return Tolerances(f"{place} has {len(found['runs'])} runs of {preset}; {MIN_RUNS} are needed")
    said = ", ".join(f"seed {run['seed']} with {run['threads']} threads" for run in found["runs"])
    source = f"greatest difference of {len(found['runs'])} runs ({said}), {place}"
    return Tolerances(source, {name: float(number) for name, number in found["tolerance"].items()})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
