"""A grid of parameters through `dvc exp`, ranked by one metric: {key of params.yaml: values} in, a table out."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from flows import ROOT, locks
from flows import dvc_program as dvc
from flows.stopping import Stop
from textgan.errors import UserError

stop = Stop()
MAX_POINTS = 64
"""More is a mistake more often than a wish: each point trains."""


def points(grid: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination, in the order of the keys as given. Raises UserError."""
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"grid: {key} is {values!r}; it must be a list of values")
    found = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if not grid or len(found) > MAX_POINTS:
        raise UserError(f"grid: it has {len(found) if grid else 0} points; from 1 to {MAX_POINTS} are taken")
    return found


def name_of(point: dict[str, Any]) -> str:
    """The experiment's name: the same point has the same name."""
    return f"sweep-{hashlib.sha256(json.dumps(point, sort_keys=True).encode()).hexdigest()[:12]}"


@task(task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def run_point(name: str, point: dict[str, Any], target: str) -> None:
    """One experiment in a directory of its own (`dvc exp run --temp`): the working tree stays as it is.

    Only what the point changes is made again: an experiment of the same name is removed first, for `--force` would run
    every stage. Linked exports are not in that directory: a point must leave alone what is made of them directly.
    """
    settings = [part for key, value in point.items() for part in ("-S", f"{key}={json.dumps(value)}")]
    log = get_run_logger()
    held = locks.acquire(locks.gpu_path(), "the GPU", stop.check, log.info)
    with open(held, "rb"):  # closes it
        dvc.run("exp", "remove", name, say=log.debug, cwd=ROOT, merge_errors=True, on_start=stop.watch)
        stop.check()
        arguments = ["exp", "run", "--temp", "--allow-missing", "--name", name, *settings, target]
        result = dvc.run(*arguments, say=log.info, cwd=ROOT, merge_errors=True, on_start=stop.watch, keep_open=(held,))
    stop.check()
    if result.code != 0:
        raise RuntimeError(f"{name}: exit {result.code}: {' | '.join(result.tail[-3:])}")


def measured(name: str, dataset: str, metric: str) -> float | None:
    """One metric of an experiment, read from its commit."""
    import dvc.api

    path = f"metrics/{dataset}.json"
    value = dvc.api.metrics_show(path, repo=str(ROOT), rev=name)
    found = value.get("metrics", {}).get(metric)
    return float(found) if isinstance(found, int | float) else None


@flow(name="sweep", task_runner=ThreadPoolTaskRunner(max_workers=1))  # type: ignore[arg-type]
def sweep(grid: dict[str, list[Any]], dataset: str, metric: str, lower_is_better: bool = False) -> list[dict[str, Any]]:
    """Run every point up to evaluate@DATASET, one after the other, and rank them; a failed point is a row too."""
    found = points(grid)
    with stop.when_cancelled():
        futures = [run_point.submit(name_of(point), point, f"evaluate@{dataset}") for point in found]
        for future in futures:
            future.wait()
    rows = []
    for point, future in zip(found, futures, strict=True):
        done = future.state.is_completed()
        value = measured(name_of(point), dataset, metric) if done else None
        rows.append({"experiment": name_of(point), **point, metric: value, "state": future.state.name})
    worst = float("inf") if lower_is_better else float("-inf")
    rows.sort(key=lambda row: worst if row[metric] is None else row[metric], reverse=not lower_is_better)
    create_table_artifact(key="sweep", table=rows, description=f"Best {metric} of {dataset} first")
    if not any(row[metric] is not None for row in rows):
        raise RuntimeError(f"no point of {len(rows)} has {metric}; the log says why")
    return rows
