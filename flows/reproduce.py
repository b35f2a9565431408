"""A commit in, a verdict out, as a Prefect flow: `textgan reproduce` under a guard, its verdict as an artifact."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from flows import ROOT, guard
from flows import dvc_program as dvc
from flows.commit import resolve
from flows.stopping import Stop
from textgan.errors import UserError
from textgan.files import STATE

stop = Stop()


@task(task_run_name="reproduce {sha}", cache_policy=NO_CACHE, persist_result=False)
def run_reproduce(sha: str, from_raw: bool, verify: str, dataset: str) -> int:
    """The exit code of `textgan reproduce`."""
    options = ["--verify", verify, *(["--from-raw"] if from_raw else []), *(["--dataset", dataset] if dataset else [])]
    command = [sys.executable, "-m", "textgan.cli", "reproduce", *options, sha]
    process = guard.popen(command, cwd=ROOT, env=dvc.environment(), stderr=subprocess.STDOUT, **dvc.PIPES)
    stop.watch(process)
    return dvc.follow(process, say=get_run_logger().info).code


@flow(name="reproduce", task_runner=ThreadPoolTaskRunner(max_workers=1))  # type: ignore[arg-type]
def reproduce(commit: str, from_raw: bool = False, verify: str = "metrics", dataset: str = "") -> dict[str, Any]:
    """Make a commit's result again; Completed only where the verdict is that it is reproduced."""
    if commit.startswith("-"):
        raise UserError(f"commit is {commit!r}; it must be a commit, tag or branch")
    sha = resolve(commit)
    path = ROOT / STATE / "verdicts" / sha[:12] / "verdict.json"
    path.unlink(missing_ok=True)
    with stop.when_cancelled():
        code = run_reproduce.submit(sha, from_raw, verify, dataset).result()
    if not path.exists():
        raise RuntimeError(f"textgan reproduce {sha[:12]}: exit {code}, no verdict; the log says why")
    verdict: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows = [*verdict["stages"], *verdict["metrics"]]
    create_table_artifact(key="verdict", table=rows, description=f"{sha[:12]}, {verdict['mode']}: exit code {code}")
    if code != 0:
        worst = [
            f"{row['name']}: {row['verdict']}" for row in rows if row["verdict"] in ("different", "not verifiable")
        ]
        raise RuntimeError(f"{sha[:12]} is not reproduced: {'; '.join(worst) or f'exit {code}'}")
    return verdict
