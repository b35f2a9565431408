"""The graph as a Prefect flow: `python -m flows.pipeline [--targets S,S] [--force] [--dry-run] [--commit] ...`.

DVC decides whether a stage must run and remembers what it made; Prefect decides when and shows it. The flow lists
no stage and calls no stage code: each stale stage of DVC's graph is one task, `dvc repro -s STAGE`, under a guard.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows import ROOT, committing, exports, graph, locks, server, showing, storage, torn
from flows import dvc_program as dvc
from flows.remote import load_remote
from flows.repro import committed_lock, is_pushed, push_if_needed, record_outcomes
from flows.stage import POOLS, run_stage, stop
from flows.stopping import TRANSFER_PAUSES
from textgan.errors import UserError, fail

MAX_WAITING = 64
"""Threads of a run: one for each task, most of which wait for the stages above them or for a slot."""


@task(task_run_name="push", cache_policy=NO_CACHE, persist_result=False)
def push(identity: str) -> bool:
    """`dvc push` where there is something to push; transfers are tried again. True where it pushed."""
    say = get_run_logger().info

    def once() -> bool:
        stop.check()
        return push_if_needed(identity, say=say, on_start=stop.watch)

    return stop.retried(once, TRANSFER_PAUSES, say)


@flow(name="pipeline", task_runner=ThreadPoolTaskRunner(max_workers=MAX_WAITING))  # type: ignore[arg-type]
def pipeline(
    targets: list[str] | None = None,
    force: bool = False,
    push_after: bool = True,
    dry_run: bool = False,
    commit: bool = False,
    tag: str = "",
) -> dict[str, str]:
    """Bring the graph, or what `targets` need, up to date; {stage: how}, how one of ran, restored, unchanged.

    `tag` commits, and names the commit. Raises UserError where a stage fails.
    """
    log = get_run_logger()
    if tag:
        committing.check_tag(tag)
    with stop.when_cancelled():
        held = locks.acquire(ROOT / locks.RUN, "another run of this repository", stop.check, log.info)
        try:
            return _bring_up_to_date(targets, force, push_after, dry_run, commit, tag, held)
        finally:
            os.close(held)


def _bring_up_to_date(
    targets: list[str] | None, force: bool, push_after: bool, dry_run: bool, commit: bool, tag: str, held: int
) -> dict[str, str]:
    log = get_run_logger()
    torn.mend(ROOT, log.warning)
    exports.link_all()
    found = graph.read(ROOT, targets, POOLS)
    names = found.to_run(force)
    committed = committed_lock()
    log.info("%d stages, %d to run: %s", len(found.stages), len(names), ", ".join(names) or "none")
    outcomes = {name: dvc.Outcome("unchanged", 0.0) for name in found.stages if name not in names}
    if dry_run:
        outcomes |= {name: dvc.Outcome("would run", 0.0) for name in names}
        return {name: outcomes[name].how for name in found.stages}
    remote = storage.ensure_started() if names or (push_after and not _is_pushed()) else None
    outcomes |= _run_stages(found, names, force, remote is not None and remote.attached_to is not None, [held])
    failed = [name for name, outcome in outcomes.items() if outcome.how not in ("ran", "restored", "unchanged")]
    showing.stages(found, outcomes)
    if failed:
        raise UserError("; ".join(f"{name}: {outcomes[name].how}" for name in failed))
    if names and all(found.stages[name].pool in POOLS for name in names):  # else another machine's is not known here
        record_outcomes(outcomes, committed)
    if push_after and remote is not None:
        push.submit(remote.identity).result()  # in a thread: the main thread is the one that hears of a cancellation
    showing.results(found)
    if commit or tag:
        committing.commit_lock(log.info)
    if tag:
        committing.tag_commit(tag, log.info)
    return {name: outcomes[name].how for name in found.stages}


def _is_pushed() -> bool:
    """Whether there is nothing to push: then the storage need not even run."""
    known = load_remote(storage.PLACE)
    return known is not None and is_pushed(known.identity)


def _run_stages(
    found: graph.Graph, names: list[str], force: bool, pull: bool, held: list[int]
) -> dict[str, dvc.Outcome]:
    """One task for each stage, here or elsewhere; it starts when those before it are done, not after a failed one."""
    futures: dict[str, PrefectFuture[dvc.Outcome]] = {}
    for name in names:
        stage = found.stages[name]
        task_of_stage = run_stage.with_options(name=name)  # what the UI shows until the task begins
        futures[name] = task_of_stage.submit(  # type: ignore[call-overload]
            name,
            stage,
            force,
            pull,
            held,
            [above for above in stage.waits_for if found.stages[above].pool not in POOLS],
            wait_for=[futures[above] for above in stage.waits_for if above in futures],
        )
    outcomes: dict[str, dvc.Outcome] = {}
    for name, future in futures.items():
        future.wait()
        state = future.state
        if state.is_completed():
            outcomes[name] = future.result()
        elif state.name == "NotReady":
            outcomes[name] = dvc.Outcome("not started: a stage before it failed", 0.0)
        else:
            outcomes[name] = dvc.Outcome(f"failed: {state.message or state.name}", 0.0)
    return outcomes


def main(
    targets: Annotated[str, typer.Option(help="Stages, separated by commas; default: all.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Run every stage, changed or not.")] = False,
    no_push: Annotated[bool, typer.Option("--no-push", help="Leave the artifacts on this machine.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")] = False,
    commit: Annotated[bool, typer.Option("--commit", help="Commit dvc.lock afterwards.")] = False,
    tag: Annotated[str, typer.Option(help="Commit, and give the commit this tag.")] = "",
) -> None:
    """Run DVC's graph as a Prefect flow on this machine."""
    names = [name for name in targets.split(",") if name]
    server.check_answers()
    outcomes = pipeline(names or None, force, not no_push, dry_run, commit, tag)
    for name, how in outcomes.items():
        print(f"{name:<24} {how}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        fail(error)
