"""A commit in its worktree, made again: what it recorded, what comes out now, and one row of the verdict for each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows import commit, cost, environment, excuses, guard, history, needs, recorded, restoring, tolerances
from flows import dvc_program as dvc
from flows.recorded import NotVerifiable
from flows.remote import Remote
from flows.verdict import CLOSE, DIFFERENT, IDENTICAL, RESTORED, UNKNOWN, Row, Verdict, compare_metrics
from textgan.errors import UserError
from textgan.files import STATE

OUT_LACKS = re.compile(r"output '.+' does not exist")
"""DVC's words where a stage's command ended with 0."""
RESTORED_NUMBER = "not measured again"
FROZEN = "dvc.yaml freezes it: DVC neither runs it nor looks at what it reads"
UNLISTED = "dvc.lock has a record of it and dvc.yaml no such stage"
UNRECORDED = "dvc.yaml has it and dvc.lock has no record of it: nobody ran it"


class Reproduction:
    """One commit in its worktree: what it recorded, and what comes out now."""

    def __init__(self, tree: Path, remote: Remote | None, dataset: str) -> None:
        self.tree, self.remote = tree, remote
        self.lock = recorded.read_lock(tree)
        self.params = recorded.read_yaml(tree, "params.yaml")
        datasets = list(recorded.mapping(self.params, "datasets"))
        if not datasets:
            raise NotVerifiable("params.yaml at the commit names no datasets")
        if dataset and dataset not in datasets:
            raise UserError(f"--dataset {dataset!r}: the commit's params.yaml has {', '.join(datasets)}")
        self.datasets = [dataset] if dataset else datasets
        self.python = commit.python_of(tree)
        self.unrecorded: list[str] = []
        self.unlisted: list[str] = []
        self.ran: dict[str, float] = {}
        self.stages = self._stages()
        self.metrics = {name: recorded.read_metrics(tree / "metrics" / f"{name}.json") for name in self.datasets}
        self.recorded, self.seconds = environment.recorded(tree)
        self.present = environment.present(self.python)
        self.unlike = environment.unlike(self.recorded, self.present)
        self.tolerances = {name: tolerances.load(self.params, name) for name in self.datasets}
        self.held: dict[str, str] = {}

    def run(self, verdict: Verdict) -> None:
        """Fill the verdict in."""
        self._state_cost(verdict.mode)
        print(environment.table(self.recorded, self.present), flush=True)
        verdict.environment = {"recorded": self.recorded, "present": self.present}
        verdict.tolerances = self.held
        if self.remote is None:
            self._rerun_all(verdict)
        else:
            self._restore(verdict, self.remote)
        verdict.stages += [Row(name, UNKNOWN, UNRECORDED) for name in self.unrecorded]
        verdict.stages += [Row(name, UNKNOWN, UNLISTED) for name in self.unlisted]
        verdict.ran = self.ran

    def _restore(self, verdict: Verdict, remote: Remote) -> None:
        """Every out from the storage, hashed; then the numbers."""
        commit.connect(self.tree, remote)
        outs = [out["md5"] for name in self.stages for out in self.lock[name].get("outs", [])]
        restoring.restore(remote, map(str, outs), history.cache_dir(self.tree))
        pulled = self._dvc("pull", *self.stages)
        for name in self.datasets:  # metrics that DVC keeps, not git, have come just now
            self.metrics[name] = self.metrics[name] or self._measured(name)
        verdict.stages += self._restored_rows(pulled)
        if pulled.code != 0:
            return
        verdict.stages = self._with_stale(verdict.stages)
        rows_of = self._measured_again if verdict.mode == "metrics" else self._only_restored
        verdict.metrics += [row for name in self.datasets for row in self._evaluated(name, rows_of)]

    def _evaluated(self, dataset: str, rows_of: Callable[[str], list[Row]]) -> list[Row]:
        """The rows, where the commit recorded an evaluation: numbers that nobody measured are no numbers."""
        if f"evaluate@{dataset}" not in self.stages:
            return [Row(f"{dataset}:*", UNKNOWN, f"dvc.yaml and dvc.lock do not both have evaluate@{dataset}")]
        return rows_of(dataset) or [Row(f"{dataset}:*", UNKNOWN, "neither the commit nor its evaluation has a metric")]

    def _measured_again(self, dataset: str) -> list[Row]:
        """The snapshot evaluated again, against the numbers that the commit holds."""
        self._remove_outs([f"evaluate@{dataset}"])
        rerun = self._dvc("repro", "--single-item", "--force", "--no-run-cache", f"evaluate@{dataset}")
        if rerun.code != 0:
            return [_failed(f"{dataset}:*", f"evaluate@{dataset}", rerun)]
        rows = self._compared_metrics(dataset, trained_alike=True)
        agree = all(row.verdict != DIFFERENT for row in rows)
        return [*rows, self._evaluated_files(dataset, agree)] if rows else []

    def _evaluated_files(self, dataset: str, numbers_agree: bool) -> Row:
        """All that the evaluation has written now, against the hash that dvc.lock records."""
        row = self._compared(f"evaluate@{dataset}", IDENTICAL)
        word, why = row.verdict, row.detail
        if word == DIFFERENT and self.unlike and numbers_agree:
            word, why = CLOSE, f"{excuses.OTHER_BYTES}{self.unlike[0]})"
        return Row(f"{dataset}: files of evaluate", word, why)

    def _only_restored(self, dataset: str) -> list[Row]:
        """Numbers of the commit's own file against those of the restored evaluation; nothing is measured."""
        rows = compare_metrics(dataset, self.metrics[dataset], self._measured(dataset), {})
        return [Row(row.name, RESTORED, RESTORED_NUMBER) if row.verdict == IDENTICAL else row for row in rows]

    def _compared_metrics(self, dataset: str, trained_alike: bool) -> list[Row]:
        want, got = self.metrics[dataset], self._measured(dataset)
        found = tolerances.holding(self.tolerances[dataset], self.unlike, trained_alike)
        self.held[dataset] = found.source
        return compare_metrics(dataset, want, got, found.metrics)

    def _rerun_all(self, verdict: Verdict) -> None:
        """Every stage again: no remote, an empty cache, forced, no run cache."""
        from flows import exports

        if lacks := needs.lacking(self.tree, self.params, self.datasets, self.python):
            raise NotVerifiable(f"the stages cannot run here: {lacks}")
        try:
            places = exports.places_of(self.params)
        except UserError as error:  # an export that this machine does not have says nothing of the commit
            raise NotVerifiable(f"its exports cannot be had: {error}") from None
        exports.link_in(self.tree, places)
        verdict.stages += [row for row in self._export_rows(places) if row.verdict != IDENTICAL]
        verdict.stages += [Row(name, DIFFERENT, why) for name, why in self._other_params().items()]
        if verdict.stages:
            return
        self._remove_outs(self.stages)
        rerun = self._dvc("repro", "--force", "--no-run-cache", *self.stages)
        verdict.stages += [self._compared(name, IDENTICAL) for name in self.stages if name in self.ran]
        verdict.metrics += [row for name in self.datasets for row in self._evaluated(name, self._metrics_of_run)]
        verdict.stages += self._not_run([name for name in self.stages if name not in self.ran], rerun)
        if rerun.code == 0:
            verdict.stages = self._excused(verdict)

    def _not_run(self, names: list[str], rerun: dvc.Run) -> list[Row]:
        """Stages of which nothing can be compared: what failed says nothing of the result, unless it was forged."""
        stale = {}
        if rerun.code != 0 and names:
            made = [out["path"] for entry in self.lock.values() for out in entry.get("outs", [])]
            stale = commit.stale_stages(self.tree, self.python, self._environment(), names, made)
        rows = []
        for name in names:
            if name in stale:
                rows.append(Row(name, DIFFERENT, stale[name]))
            elif name in rerun.stages:
                rows.append(_failed(name, name, rerun))
            else:
                rows.append(Row(name, UNKNOWN, FROZEN if _group(name) in self.frozen else "the stage was not reached"))
        return rows

    def _metrics_of_run(self, dataset: str) -> list[Row]:
        """Its numbers, where its evaluation has run: those of a run that did not come so far are not different."""
        if f"evaluate@{dataset}" not in self.ran:
            return [Row(f"{dataset}:*", UNKNOWN, f"evaluate@{dataset} did not run through")]
        read = {dep["path"] for dep in self.lock[f"evaluate@{dataset}"].get("deps", [])}
        makers = [name for name in self.stages if read & {out["path"] for out in self.lock[name].get("outs", [])}]
        alike = all(self._compared(name, IDENTICAL).verdict == IDENTICAL for name in makers)
        return self._compared_metrics(dataset, trained_alike=alike)

    def _excused(self, verdict: Verdict) -> list[Row]:
        """Other bytes of floats on another machine, where every metric is within its tolerance."""
        if not self.unlike or not verdict.metrics or any(row.verdict == DIFFERENT for row in verdict.metrics):
            return verdict.stages
        other = {row.name for row in verdict.stages if row.verdict == DIFFERENT}
        names = excuses.excused(other, self.lock, self.params, self.datasets)
        why = f"{excuses.OTHER_BYTES}{self.unlike[0]}), every metric within its tolerance"
        return [Row(row.name, CLOSE, why) if row.name in names else row for row in verdict.stages]

    def _restored_rows(self, pulled: dvc.Run) -> list[Row]:
        """Each stage's outs hashed again, by our own code, against dvc.lock."""
        rows = [self._compared(name, RESTORED) for name in self.stages]
        if pulled.code == 0:
            return rows
        why = [idx for idx, line in enumerate(pulled.tail) if re.search(r"ERROR|failed|corrupted", line)] or [-2]
        said = " ".join(" ".join(pulled.tail[why[-1] :][:3]).split())  # what failed, and the names below it
        reason = f"not restored (dvc pull: exit {pulled.code}): {said}"
        if all(row.verdict == RESTORED for row in rows):  # of an out that dvc.lock does not record
            return [*rows, Row("dvc pull", UNKNOWN, reason)]
        return [Row(row.name, UNKNOWN, reason) if row.verdict == DIFFERENT else row for row in rows]

    def _remove_outs(self, names: list[str]) -> None:
        """What git or the storage gave of the outs goes: what is compared afterwards has been made by the stages."""
        for name in names:
            for out in self.lock[name].get("outs", []):
                path = self.tree / out["path"]
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)

    def _compared(self, name: str, equal: str) -> Row:
        for out in self.lock[name].get("outs", []):
            path = self.tree / out["path"]
            if not path.exists():
                return Row(name, DIFFERENT, f"{out['path']} is missing")
            found, _size = commit.dvc_hash(path)
            if found != out["md5"]:
                return Row(name, DIFFERENT, f"{out['path']} has {found}, dvc.lock says {out['md5']}{self._first(path)}")
        return Row(name, equal)

    def _first(self, path: Path) -> str:
        """Which files a directory has, to name a difference: their number and bytes."""
        if not path.is_dir():
            return f" ({path.stat().st_size} bytes)"
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return f" ({len(files)} files, {sum(file.stat().st_size for file in files)} bytes)"

    def _with_stale(self, rows: list[Row]) -> list[Row]:
        """Stages whose recorded code or parameters are not those of the commit: its lock is not of this commit."""
        stale = commit.stale_stages(self.tree, self.python, self._environment(), self.stages)
        stale |= self._other_params()  # DVC's word and our own: of a frozen stage it says nothing
        return [self._judged(row, stale) if row.verdict == RESTORED else row for row in rows]

    def _other_params(self) -> dict[str, str]:
        """{stage: the first of its parameters that the commit has otherwise than dvc.lock}."""
        recorded_params = {name: self.lock[name].get("params", {}).get("params.yaml", {}) for name in self.stages}
        changed = {name: commit.changed_params(values, self.params) for name, values in recorded_params.items()}
        return {name: f"params.yaml: {why}" for name, why in changed.items() if why}

    def _judged(self, row: Row, stale: dict[str, str]) -> Row:
        """A restored stage, with what is known against it."""
        if row.name in stale:
            return Row(row.name, DIFFERENT, stale[row.name])
        return Row(row.name, UNKNOWN, FROZEN) if _group(row.name) in self.frozen else row

    def _export_rows(self, places: dict[str, Path]) -> list[Row]:
        """The exports against the digests that the commit recorded, before hours are spent."""
        rows = []
        for dataset in {name.split("/")[0] for name in places}:
            stage = self.lock.get(f"ingest@{dataset}", {})
            for dep in stage.get("deps", []):
                if dep["path"] == f"data/exports/{dataset}":
                    found, _size = commit.dvc_hash(self.tree / dep["path"])
                    same = found == dep["md5"]
                    detail = "" if same else f"the export has {found}, the commit recorded {dep['md5']}"
                    rows.append(Row(f"data/exports/{dataset}", IDENTICAL if same else DIFFERENT, detail))
        return rows

    def _stages(self) -> list[str]:
        """The stages of dvc.yaml that belong to the datasets asked for and that dvc.lock records; notes the others.

        Raises NotVerifiable where dvc.yaml cannot be read, and where nothing is recorded.
        """
        every = len(self.datasets) == len(self.params["datasets"])
        self.frozen = recorded.frozen_stages(self.tree)
        named = commit.stage_names(self.tree, self.python, self._environment())
        keys = {name: name.partition("@")[2] for name in named}
        chosen = [name for name, key in keys.items() if key in self.datasets or (not key and every)]
        self.unrecorded = [name for name in chosen if name not in self.lock]
        self.unlisted = [name for name in self.lock if name not in keys] if every else []
        if len(self.unrecorded) == len(chosen):
            raise NotVerifiable("dvc.lock has no stage of the datasets that params.yaml names")
        return [name for name in chosen if name in self.lock]

    def _measured(self, dataset: str) -> dict[str, Any]:
        """The metrics that lie in the out of evaluate@D now: what the last run of that stage measured; none else."""
        for out in self.lock.get(f"evaluate@{dataset}", {}).get("outs", []):
            for path in (self.tree / out["path"] / "metrics.json", self.tree / out["path"]):
                if path.is_file() and path.suffix == ".json":
                    return recorded.read_metrics(path)
        return {}

    def _state_cost(self, mode: str) -> None:
        """What it will take, before it is taken. Raises NotVerifiable where the disk has no room."""
        again = {"from raw": self.stages, "metrics": [f"evaluate@{name}" for name in self.datasets]}.get(mode, [])
        cost.state(self.tree, {name: self.lock[name] for name in self.stages}, again, self.seconds)

    def _dvc(self, *arguments: str) -> dvc.Run:
        command = [str(self.python), "-m", "dvc", *arguments]
        pipes = {**dvc.PIPES, "stderr": subprocess.STDOUT}  # what went wrong belongs to the verdict
        process = guard.popen(command, cwd=self.tree, env=self._environment(), **pipes)
        done = dvc.follow(process, say=print)
        self.ran |= {name: outcome.seconds for name, outcome in done.stages.items() if outcome.how == "ran"}
        return done

    def _environment(self) -> dict[str, str]:
        paths = {"PATH": os.pathsep.join([str(self.python.parent), os.environ.get("PATH", os.defpath)])}
        own = {"PYTHONPATH": str(self.tree), "DVC_SITE_CACHE_DIR": str(self.tree / STATE / "dvc")}
        return {**dvc.environment(), **paths, **own}


def _failed(name: str, stage: str, rerun: dvc.Run) -> Row:
    """Of a stage that failed: it made an out no more, or nothing was made that could be compared."""
    lacking = [found[0] for line in rerun.tail if (found := OUT_LACKS.search(line))]
    if lacking:  # the command ended well
        return Row(name, DIFFERENT, f"{stage} ran: {lacking[-1]}")
    return Row(name, UNKNOWN, f"{stage} failed: {' '.join(' '.join(rerun.tail[-2:]).split())}")


def _group(stage: str) -> str:
    """The name under which dvc.yaml has a stage: `train` of `train@catcar`."""
    return stage.partition("@")[0]
