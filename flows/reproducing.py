"""`textgan reproduce COMMIT`: make a commit's result again, in a worktree, and say whether it is the same."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from flows import commit, guard, storage
from flows import dvc_program as dvc
from flows.remote import Remote
from flows.verdict import DIFFERENT, IDENTICAL, RESTORED, UNKNOWN, Row, Verdict, compare_metrics
from textgan.errors import UserError
from textgan.files import STATE, write_json

TOLERANCES = Path("docs/tolerances.json")
"""{metric: greatest difference between reruns that was measured}, of the present checkout."""


def reproduce(
    revision: Annotated[str, typer.Argument(metavar="COMMIT", help="Commit, tag or branch.")],
    from_raw: Annotated[
        bool, typer.Option("--from-raw", help="Run every stage again from the exports, no cache.")
    ] = False,
    verify: Annotated[str, typer.Option(help="hashes: restore and hash; metrics: evaluate again too.")] = "metrics",
    dataset: Annotated[str, typer.Option(help="Only this dataset of the commit's params.yaml.")] = "",
    keep: Annotated[Path | None, typer.Option(help="Leave the worktree in this directory.")] = None,
) -> None:
    """Exit code 0: reproduced; 1: something differs, and it is named; 2: it cannot be verified, and why."""
    if verify not in ("hashes", "metrics"):
        raise UserError(f"--verify is {verify!r}; it must be hashes or metrics")
    mode = "from raw" if from_raw else verify
    sha = commit.resolve(revision)
    start = time.monotonic()
    verdict = Verdict(sha, mode)
    try:
        commit.check_verifiable(sha)
        remote = storage.ensure_started()
        with commit.worktree(sha, keep) as tree:
            Reproduction(tree, sha, remote, dataset).run(verdict)
    except commit.NotVerifiable as reason:
        verdict.stages.append(Row(sha[:12], UNKNOWN, str(reason)))
    verdict.seconds = round(time.monotonic() - start, 1)
    out = (keep or STATE / "verdicts" / sha[:12]) / "verdict.json"
    write_json(out, verdict.as_json())
    print(f"\n{verdict.table()}\nWritten to {out}; {verdict.seconds:.0f} s.")
    raise SystemExit(verdict.exit_code)


class Reproduction:
    """One commit in its worktree: what it recorded, and what comes out now."""

    def __init__(self, tree: Path, sha: str, remote: Remote, dataset: str) -> None:
        self.tree, self.remote = tree, remote
        self.lock: dict[str, Any] = yaml.safe_load((tree / "dvc.lock").read_text(encoding="utf-8"))["stages"]
        self.params = yaml.safe_load((tree / "params.yaml").read_text(encoding="utf-8"))
        datasets = list(self.params.get("datasets", {}))
        if dataset and dataset not in datasets:
            raise UserError(f"--dataset {dataset!r}: the commit's params.yaml has {', '.join(datasets)}")
        self.datasets = [dataset] if dataset else datasets
        self.python = commit.python_of(tree)
        self.stages = self._stages()
        self.metrics = {name: self._metrics(name) for name in self.datasets}

    def run(self, verdict: Verdict) -> None:
        """Fill the verdict in."""
        self._state_cost(verdict.mode)
        verdict.environment = {"recorded": self._recorded_environment(), "present": present_environment()}
        if verdict.mode == "from raw":
            self._rerun_all(verdict)
            return
        commit.connect(self.tree, self.remote)
        pulled = self._dvc("pull", *self.stages)
        for name in self.datasets:  # metrics that DVC keeps, not git, have come just now
            self.metrics[name] = self.metrics[name] or self._metrics(name)
        verdict.stages += self._restored_rows(pulled)
        if pulled.code == 0:
            verdict.stages = self._with_stale(verdict.stages)
        for name in self.datasets:
            if verdict.mode == "metrics" and pulled.code == 0:
                rerun = self._dvc("repro", "--single-item", "--force", "--no-run-cache", f"evaluate@{name}")
                if rerun.code != 0:
                    verdict.metrics.append(Row(f"{name}:*", DIFFERENT, f"evaluate@{name} failed: {rerun.tail[-1:]}"))
                    continue
            tolerances = load_tolerances()
            verdict.metrics += compare_metrics(name, self.metrics[name], self._metrics(name), tolerances)

    def _rerun_all(self, verdict: Verdict) -> None:
        """Every stage again: no remote, an empty cache, forced, no run cache."""
        from flows import exports

        places = exports.places_of(self.params)
        exports.link_in(self.tree, places)
        verdict.stages += [row for row in self._export_rows(places) if row.verdict != IDENTICAL]
        if verdict.stages:
            return
        rerun = self._dvc("repro", "--force", "--no-run-cache", *self._targets())
        for name in self.stages:
            if name not in rerun.stages or rerun.stages[name].how != "ran":
                why = "failed" if name in rerun.stages else "was not reached"
                verdict.stages.append(Row(name, DIFFERENT if rerun.code else UNKNOWN, f"the stage {why}"))
            else:
                verdict.stages.append(self._compared(name, IDENTICAL))
        for dataset in self.datasets:
            verdict.metrics += compare_metrics(
                dataset, self.metrics[dataset], self._metrics(dataset), load_tolerances()
            )

    def _restored_rows(self, pulled: dvc.Run) -> list[Row]:
        """Each stage's outs hashed again, by our own code, against dvc.lock."""
        return [self._compared(name, RESTORED, missing=pulled.tail) for name in self.stages]

    def _compared(self, name: str, equal: str, missing: list[str] | None = None) -> Row:
        for out in self.lock[name].get("outs", []):
            path = self.tree / out["path"]
            if not path.exists():
                why = [line for line in missing or [] if "ERROR" in line or "failed" in line or "Missing" in line]
                return Row(name, UNKNOWN if missing else DIFFERENT, f"{out['path']} is missing; {' '.join(why[:2])}")
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
        shown = subprocess.run(
            [str(self.python), "-m", "dvc", "status", "--json", *self.stages],
            cwd=self.tree,
            env=self._environment(),
            capture_output=True,
            text=True,
        )
        try:
            status = json.loads(shown.stdout)
        except ValueError:
            raise UserError(f"dvc status in the worktree: {shown.stderr.strip()[-300:]}") from None
        stale = {stage: reason for stage, entries in status.items() if (reason := _why_stale(entries))}
        return [
            Row(row.name, DIFFERENT, stale[row.name]) if row.name in stale and row.verdict == RESTORED else row
            for row in rows
        ]

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
        """The stages of the lock that belong to the datasets asked for."""
        chosen = []
        for name in self.lock:
            key = name.partition("@")[2]
            if key in self.datasets or (not key and len(self.datasets) == len(self.params["datasets"])):
                chosen.append(name)
        if not chosen:
            raise commit.NotVerifiable("dvc.lock has no stage of the datasets that params.yaml names")
        return chosen

    def _targets(self) -> list[str]:
        return [] if len(self.datasets) == len(self.params["datasets"]) else [f"evaluate@{self.datasets[0]}"]

    def _metrics(self, dataset: str) -> dict[str, Any]:
        path = self.tree / "metrics" / f"{dataset}.json"
        return dict(json.loads(path.read_text(encoding="utf-8")).get("metrics", {})) if path.exists() else {}

    def _recorded_environment(self) -> Any:
        path = self.tree / "report" / "run.json"
        return json.loads(path.read_text(encoding="utf-8")).get("environment") if path.exists() else None

    def _state_cost(self, mode: str) -> None:
        """What it will take, before it is taken."""
        size = sum(out.get("size", 0) for name in self.stages for out in self.lock[name].get("outs", []))
        times = _recorded_seconds()
        known = [times[name] for name in self.stages if name in times]
        work = {
            "from raw": known,
            "metrics": [times[f"evaluate@{d}"] for d in self.datasets if f"evaluate@{d}" in times],
        }
        seconds = sum(work.get(mode, []))
        took = f"the stages took {seconds:.0f} s when last run here" if seconds else "no earlier time is known"
        print(f"{len(self.stages)} stages, {size / 1e6:.1f} MB on disk, {took}; in {self.tree}", flush=True)

    def _dvc(self, *arguments: str) -> dvc.Run:
        command = [str(self.python), "-m", "dvc", *arguments]
        return dvc.follow(guard.popen(command, cwd=self.tree, env=self._environment(), **dvc.PIPES), say=print)

    def _environment(self) -> dict[str, str]:
        paths = {"PATH": os.pathsep.join([str(self.python.parent), os.environ.get("PATH", os.defpath)])}
        return {**dvc.environment(), **paths, "PYTHONPATH": str(self.tree)}


def _why_stale(entries: list[Any]) -> str:
    """The first changed dependency that is code or parameters, in words; raw exports need not be here."""
    for entry in entries:
        if not isinstance(entry, dict):
            if entry == "changed command":
                return "dvc.lock records another command than dvc.yaml has"
            continue
        for path, how in entry.get("changed deps", {}).items():
            if path.startswith("data/exports/") and how == "deleted":
                continue
            if isinstance(how, dict):
                keys = ", ".join(f"{key} ({state})" for key, state in how.items())
                return f"{path} at the commit is not what dvc.lock recorded: {keys}"
            return f"{path} at the commit is not what dvc.lock recorded ({how})"
    return ""


def _recorded_seconds() -> dict[str, float]:
    from flows.repro import TIMES

    if not TIMES.exists():
        return {}
    stages = json.loads(TIMES.read_text(encoding="utf-8"))["stages"]
    return {name: float(entry["seconds"]) for name, entry in stages.items()}


def load_tolerances() -> dict[str, float]:
    """How far reruns were seen to differ, by metric; what is not listed must be equal."""
    return dict(json.loads(TOLERANCES.read_text(encoding="utf-8"))) if TOLERANCES.exists() else {}


def present_environment() -> dict[str, Any]:
    """This machine, as far as it can change a float."""
    import importlib.metadata

    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    packages = {}
    for name in ("torch", "numpy", "pillow", "nltk", "onnxruntime"):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "absent"
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **packages,
    }
