"""DVC's own graph, read from DVC: which stages there are, what each waits for, which are stale, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textgan.errors import UserError


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage after foreach: its name, the stages whose outs it reads, and its `meta` in dvc.yaml."""

    name: str
    waits_for: tuple[str, ...]
    meta: dict[str, Any] = field(default_factory=dict)
    deps: tuple[str, ...] = ()
    """Paths that it reads, as dvc.yaml has them."""
    outs: tuple[str, ...] = ()
    """Paths that it writes."""

    @property
    def pool(self) -> str:
        """Work pool: cpu where dvc.yaml says nothing."""
        return str(self.meta.get("pool", "cpu"))

    @property
    def timeout_seconds(self) -> float | None:
        """After this time the stage is ended and has failed; None waits for ever."""
        seconds = self.meta.get("timeout_seconds")
        return None if seconds is None else float(seconds)

    @property
    def retries(self) -> int:
        """How often it is run again after a failure; never where dvc.yaml says nothing: the same fails again."""
        return int(self.meta.get("retries", 0))


@dataclass(frozen=True, slots=True)
class Graph:
    """Stages, each behind what it waits for; `stale` maps a changed stage to DVC's reasons."""

    stages: dict[str, Stage]
    stale: dict[str, Any]

    def to_run(self, force: bool = False) -> list[str]:
        """Names of the stages that a run must go through: the stale ones and all below them."""
        names: list[str] = []
        for name, stage in self.stages.items():
            if force or name in self.stale or any(above in names for above in stage.waits_for):
                names.append(name)
        return names


def read(root: Path, targets: list[str] | None = None, pools: frozenset[str] | None = None) -> Graph:
    """The graph of the repository at `root`, or the part that `targets` need. Raises UserError where DVC refuses it.

    Where a stage's pool is none of `pools`, another machine runs it: then data that is missing here does not make a
    stage stale, for dvc.lock names it and the storage has it.
    """
    from dvc.exceptions import CyclicGraphError, DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root), _wait_for_lock=True) as repo:  # a `dvc push` by hand holds DVC's lock to its end
            found = repo.index.graph
            stages = {
                _name(stage): Stage(
                    _name(stage),
                    tuple(sorted(_name(above) for above in found.successors(stage) if not above.is_data_source)),
                    stage.meta or {},
                    tuple(sorted({str(dep.def_path) for dep in stage.deps})),
                    tuple(sorted({str(out.def_path) for out in stage.outs})),
                )
                for stage in found.nodes
                if not stage.is_data_source
            }
            status = repo.status()
            stale = {stage: status[key] for key, stage in _addresses(found).items() if key in status and status[key]}
            if pools is not None and any(stage.pool not in pools for stage in stages.values()):
                made = {out.def_path: out.hash_info for stage in found.nodes for out in stage.outs}
                recorded = {_name(stage) for stage in found.nodes if _is_recorded(stage, made)}
                stale = {name: why for name, why in stale.items() if name not in recorded or not _only_missing(why)}
    except CyclicGraphError as error:
        raise UserError(f"dvc.yaml: its stages are a cycle: {error}") from None
    except DvcException as error:
        raise UserError(f"dvc.yaml: {error}") from None
    for target in targets or []:
        if target not in stages:
            raise UserError(f"target {target!r} is no stage; there are {', '.join(sorted(stages))}")
    wanted = _needed(stages, targets) if targets else set(stages)
    order = [name for name in _ordered(stages) if name in wanted]
    return Graph({name: stages[name] for name in order}, {name: stale[name] for name in order if name in stale})


def _is_recorded(stage: Any, made: dict[str, Any]) -> bool:
    """Whether dvc.lock has the stage, with deps that are what it records of the stages above."""
    known = all(one.hash_info for one in [*stage.deps, *stage.outs])
    return known and all(made.get(dep.def_path, dep.hash_info) == dep.hash_info for dep in stage.deps)


def _only_missing(why: list[Any]) -> bool:
    """Whether DVC's reasons are all that a file which dvc.lock records is not here."""
    changes = [
        state for entry in why if isinstance(entry, dict) for states in entry.values() for state in states.values()
    ]
    return all(isinstance(entry, dict) for entry in why) and all(one in ("deleted", "not in cache") for one in changes)


def _name(stage: Any) -> str:
    """`ingest@catcar`, without the path of dvc.yaml that DVC puts before it when run from elsewhere."""
    return str(stage.addressing).rpartition(":")[2]


def _addresses(found: Any) -> dict[str, str]:
    return {str(stage.addressing): _name(stage) for stage in found.nodes if not stage.is_data_source}


def _needed(stages: dict[str, Stage], targets: list[str]) -> set[str]:
    """The targets and all above them."""
    needed: set[str] = set()
    todo = list(targets)
    while todo:
        name = todo.pop()
        if name not in needed:
            needed.add(name)
            todo += stages[name].waits_for
    return needed


def _ordered(stages: dict[str, Stage]) -> list[str]:
    """Topological order, the same each time: names decide where the graph leaves a choice. (DVC refuses cycles.)"""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in order:
            for above in stages[name].waits_for:
                visit(above)
            order[name] = None

    for name in sorted(stages):
        visit(name)
    return list(order)
