"""docs/tolerances.json: how far metrics were seen to lie apart, written by benchmarks/run_to_run.py.

Two tables for each dataset of a preset. `training`: whole trainings with other seeds and threads. `evaluation`: one
snapshot measured under unlike environments (threads, instructions of the processor). The tolerance of a metric is the
greatest difference between two runs of its table. Which table holds, if any, depends on what was made again and where.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textgan.errors import UserError

PLACE = Path("docs/tolerances.json")
TRAINING, EVALUATION = "training", "evaluation"
TABLES = {TRAINING: ("seed", "threads"), EVALUATION: ("threads", "instructions")}
"""What distinguishes the runs of each."""
MIN_RUNS = 3
"""Two runs say nothing of a spread."""
ALIKE = "none: this machine is like the recorded one, on which numbers must be equal"


@dataclass(frozen=True, slots=True)
class Tolerances:
    """{metric: greatest difference} of one dataset and where it comes from; empty: what is compared must be equal."""

    source: str = "no spread was measured"
    metrics: dict[str, float] = field(default_factory=dict)


def holding(tables: dict[str, Tolerances], unlike: list[str], trained_alike: bool) -> Tolerances:
    """What holds of a measurement: nothing on a machine like the recorded one (`unlike`: what differs, in words).

    `trained_alike`: what was measured is the commit's own snapshot, byte for byte. Only where it is another one, which
    a training on an unlike machine made, do the differences between trainings count.
    """
    if not unlike:
        return Tolerances(ALIKE)
    return tables[EVALUATION if trained_alike else TRAINING]


def spread(values: list[float]) -> float:
    """The greatest difference between two runs."""
    return max((abs(one - other) for one, other in itertools.combinations(values, 2)), default=0.0)


def section(table: str, runs: list[dict[str, Any]], kimg: float) -> dict[str, Any]:
    """What the file holds of one table; `runs`: {what distinguishes them, metrics}, of MIN_RUNS or more."""
    names = sorted(set.intersection(*(set(run["metrics"]) for run in runs)))
    numbers = [name for name in names if all(_is_number(run["metrics"][name]) for run in runs)]
    return {
        "total_kimg": kimg,
        "runs": [{key: run[key] for key in TABLES[table]} for run in runs],
        "values": {name: [run["metrics"][name] for run in runs] for name in numbers},
        "tolerance": {name: spread([run["metrics"][name] for run in runs]) for name in numbers},
    }


def load(preset: str, dataset: str, kimg: Any = None, place: Path = PLACE) -> dict[str, Tolerances]:
    """{table: tolerances} of a dataset under a preset; empty ones where the training was of another length."""
    try:
        value = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {table: Tolerances() for table in TABLES}
    except ValueError as error:
        raise UserError(f"{place}: not JSON: {error}") from None
    found = value.get(preset, {}).get(dataset, {})
    return {table: _table(found.get(table), f"{table} of {preset} with {dataset}", kimg, place) for table in TABLES}


def _table(found: dict[str, Any] | None, what: str, kimg: Any, place: Path) -> Tolerances:
    """One table, or why there is none."""
    if not found:
        return Tolerances(f"{place} has no {what}")
    if kimg is not None and found["total_kimg"] != kimg:
        return Tolerances(f"{place} measured {found['total_kimg']} kimg, the commit trains {kimg}")
    if len(found["runs"]) < MIN_RUNS:
        return Tolerances(f"{place} has {len(found['runs'])} runs for {what}; {MIN_RUNS} are needed")
    said = "; ".join(", ".join(f"{key} {value}" for key, value in run.items()) for run in found["runs"])
    source = f"greatest difference of {len(found['runs'])} runs for {what} ({said}), {place}"
    return Tolerances(source, {name: float(number) for name, number in found["tolerance"].items()})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
