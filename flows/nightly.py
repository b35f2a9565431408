"""At night: exports linked, what changed built again, evaluated, compared with the last release, perhaps published."""

from __future__ import annotations

import json
import subprocess
import sys

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from flows import ROOT, cards, guard, history, storage
from flows import dvc_program as dvc
from flows.committing import is_committed
from flows.pipeline import pipeline
from flows.releases import Store
from flows.stopping import Stop
from textgan import params
from textgan.errors import UserError

stop = Stop()
Numbers = dict[str, dict[str, float]]
"""{dataset: {metric: value}}, the headline first, as a release's index has them."""


def decide(new: Numbers, old: Numbers, lower_is_better: set[str]) -> tuple[bool, str]:
    """Whether to publish, and why: no dataset's headline number is worse than the release's, and one is better."""
    better = []
    for dataset, numbers in sorted(new.items()):
        if not numbers:
            return False, f"{dataset} has no metrics"
        name, value = next(iter(numbers.items()))
        before = old.get(dataset, {}).get(name)
        if before is None:
            return False, f"{dataset}: the last release has no {name}; publish by hand"
        gain = before - value if name in lower_is_better else value - before
        if gain < 0:
            return False, f"{dataset}: {name} is worse, {value:.4g} against {before:.4g}"
        if gain > 0:
            better.append(f"{dataset}: {name} is better, {value:.4g} against {before:.4g}")
    return bool(better), "; ".join(better) or "nothing is better than the last release"


def lower_is_better(dataset: str) -> set[str]:
    """Names of the metrics of which less is better, as evaluate wrote them."""
    path = ROOT / "data" / "evaluation" / dataset / "metrics.json"
    rows = json.loads(path.read_text(encoding="utf-8")).get("numbers", []) if path.exists() else []
    return {row["name"] for row in rows if row["lower_is_better"]}


@task(cache_policy=NO_CACHE, persist_result=False)
def compare() -> tuple[bool, str]:
    """The present result against the newest release of the storage."""
    store = Store(storage.ensure_started())
    found = [store.need_index(name)[0] for name in store.names()]
    if not found:
        return True, "there is no release yet"
    last = max(found, key=lambda index: index.date)
    if last.commit == history.git("rev-parse", "HEAD").strip():
        return False, f"release {last.name} is of this very commit"
    datasets = sorted(params.load().datasets)
    lower = {name for dataset in datasets for name in lower_is_better(dataset)}
    publishing, why = decide({name: cards.main_numbers(name) for name in datasets}, last.datasets, lower)
    return publishing, f"against release {last.name}: {why}"


@task(cache_policy=NO_CACHE, persist_result=False)
def publish_release() -> None:
    """`textgan publish` of the present commit, under a guard; it refuses a tree that differs from it."""
    command = [sys.executable, "-m", "textgan.cli", "publish"]
    process = guard.popen(command, cwd=ROOT, env=dvc.environment(), stderr=subprocess.STDOUT, **dvc.PIPES)
    stop.watch(process)
    result = dvc.follow(process, say=get_run_logger().info)
    stop.check()
    if result.code != 0:
        raise UserError(f"textgan publish: exit {result.code}: {' | '.join(result.tail[-3:])}")


def check_tree() -> None:
    """Refuse before hours are spent what `publish` would refuse after them: a tree with changes of somebody's."""
    changed = [line[3:] for line in history.git("status", "--porcelain", "--untracked-files=all").splitlines()]
    others = [path for path in changed if not is_committed(path)]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UserError(f"nightly: {others[0]}{more} differs from the commit; commit it, or remove it, first")


@flow(name="nightly", task_runner=ThreadPoolTaskRunner(max_workers=1))  # type: ignore[arg-type]
def nightly(publish_if_better: bool = True) -> str:
    """The pipeline with its commit, then the comparison; what was decided, in words."""
    if publish_if_better:
        check_tree()
    outcomes = pipeline(commit=True)
    publishing, why = compare.submit().result()
    if publishing and publish_if_better:
        with stop.when_cancelled():
            publish_release.submit().result()
    decision = f"{'Published' if publishing and publish_if_better else 'Not published'}: {why}."
    ran = [name for name, how in outcomes.items() if how != "unchanged"]
    text = f"{decision}\n\nStages that ran: {', '.join(ran) or 'none'}."
    create_markdown_artifact(key="nightly", markdown=text, description="What the night decided")
    get_run_logger().info(decision)
    return decision
