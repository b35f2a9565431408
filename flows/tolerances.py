"""docs/tolerances.json: how far metrics were seen to lie apart, written by benchmarks/run_to_run.py.

Two tables for each dataset of a preset. `training`: whole trainings with other seeds and threads. `evaluation`: one
snapshot measured under unlike environments (threads, instructions of the processor). The tolerance of a metric is the
greatest difference between two runs of its table. Which table holds, if any, depends on what was made again and where;
a table holds for the parameters that it was measured with, the seed of the training aside, and for no others.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.recorded import mapping
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

    source: str = f"none: there is no {PLACE}, no spread was measured; numbers must be equal"
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


def parameters_of(params: dict[str, Any], dataset: str) -> dict[str, Any]:
    """What of a parsed params.yaml a table holds for: all that a dataset is made with, but for the training's seed."""
    settings = mapping(mapping(params, "datasets"), dataset)
    train = {key: value for key, value in mapping(settings, "train").items() if key != "seed"}
    return {"draw": mapping(params, "draw").get(dataset), **settings, "train": train}


def section(
    table: str, runs: list[dict[str, Any]], parameters: dict[str, Any], measured: dict[str, str]
) -> dict[str, Any]:
    """What the file holds of one table; `runs`: {what distinguishes them, metrics}, of MIN_RUNS or more.

    `measured`: the commit, and the machine.
    """
    names = sorted(set.intersection(*(set(run["metrics"]) for run in runs)))
    numbers = [name for name in names if all(_is_number(run["metrics"][name]) for run in runs)]
    return {
        "parameters": parameters,
        "measured": measured,
        "runs": [{key: run[key] for key in TABLES[table]} for run in runs],
        "values": {name: [run["metrics"][name] for run in runs] for name in numbers},
        "tolerance": {name: spread([run["metrics"][name] for run in runs]) for name in numbers},
    }


def load(params: dict[str, Any], dataset: str, place: Path = PLACE) -> dict[str, Tolerances]:
    """{table: tolerances} of a dataset of a commit's parsed params.yaml; empty where other parameters were measured."""
    preset = str(params.get("preset", ""))
    try:
        value = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {table: Tolerances() for table in TABLES}
    except ValueError as error:
        raise UserError(f"{place}: not JSON: {error}") from None
    found, own = value.get(preset, {}).get(dataset, {}), parameters_of(params, dataset)
    return {table: _table(found.get(table), f"{table} of {preset} with {dataset}", own, place) for table in TABLES}


def _table(found: dict[str, Any] | None, what: str, own: dict[str, Any], place: Path) -> Tolerances:
    """One table, or why there is none."""
    if not found:
        return Tolerances(f"none: {place} has no {what}")
    if other := _first_difference(found["parameters"], own):
        return Tolerances(f"none: {place} measured {what} with {other}")
    if len(found["runs"]) < MIN_RUNS:
        return Tolerances(f"none: {place} has {len(found['runs'])} runs for {what}; {MIN_RUNS} are needed")
    said = "; ".join(", ".join(f"{key} {value}" for key, value in run.items()) for run in found["runs"])
    where = ", ".join(found["measured"].values())
    source = f"greatest difference of {len(found['runs'])} runs for {what} ({said}), {place}, measured at {where}"
    return Tolerances(source, {name: float(number) for name, number in found["tolerance"].items()})


def _first_difference(measured: Any, own: Any, key: str = "") -> str:
    """The first parameter that the commit has otherwise, with both values; empty where there is none."""
    if isinstance(measured, dict) and isinstance(own, dict):
        names = sorted(measured.keys() | own.keys(), key=str)
        found = (_first_difference(measured.get(name), own.get(name), f"{key}.{name}".strip(".")) for name in names)
        return next(filter(None, found), "")
    return "" if measured == own else f"{key} {measured!r}, the commit has {own!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
