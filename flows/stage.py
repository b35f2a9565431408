"""One stage as a Prefect task, and as a flow of its own: what a worker on another machine runs for a run's flow.

Such a machine shares nothing but the storage: it takes the run's dvc.lock from there, pulls what the stage reads, runs
`dvc repro --pull --allow-missing -s STAGE`, pushes what came out, and gives the lock back.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any
from uuid import UUID

from prefect import flow, get_client, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from flows import ROOT, exchange, graph, guard, locks, restoring, storage
from flows import dvc_program as dvc
from flows.remote import load_remote
from flows.stopping import TRANSFER_PAUSES, Stop
from textgan import local
from textgan.errors import UserError

local.apply()
SLOTS = int(os.environ.get("TEXTGAN_SLOTS", "2"))
"""Stages side by side on this machine; how fast, not what."""
POOLS = frozenset(os.environ.get("TEXTGAN_POOLS", "cpu,gpu").split(","))
"""Pools whose stages this machine runs itself."""
WATCH_SECONDS = 2.0
RETRY_SECONDS = 10.0
"""Before a stage whose meta allows it is run again."""
stop = Stop()
slots = threading.BoundedSemaphore(SLOTS)


@task(task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def run_stage(name: str, stage: graph.Stage, force: bool, pull: bool, held: list[int], bring: list[str]) -> dvc.Outcome:
    """One stage, once more for each of its `retries`: there are none, for what is deterministic fails again.

    `held` are the run's own locks; `bring`: run_here.
    """
    say = get_run_logger().info

    def once() -> dvc.Outcome:
        if stage.pool in POOLS:
            return run_here(name, stage, force, pull, held, bring)
        from flows import elsewhere

        return elsewhere.run(name, stage, force, stop, say)

    return stop.retried(once, [RETRY_SECONDS] * stage.retries, say)


def run_here(name: str, stage: graph.Stage, force: bool, pull: bool, held: list[int], bring: list[str]) -> dvc.Outcome:
    """`dvc repro -s NAME` under a guard, on this machine. `bring`: stages made elsewhere, pulled first."""
    log = get_run_logger()
    settings: dict[str, Any] = {"say": log.info, "on_start": stop.watch}
    gpu = [locks.acquire(locks.gpu_path(), "the GPU", stop.check, log.info)] if stage.pool == "gpu" else []
    options = [*(["--force"] if force else []), *(["--pull"] if pull else [])]
    try:
        with _slot():
            if bring:
                _checked(f"{name}: dvc pull {' '.join(bring)}", stage, _pull(bring, settings))
                options.append("--allow-missing")
            seconds, keep = stage.timeout_seconds, (*held, *gpu)
            arguments = ("repro", *options, "-s", name)
            limits: dict[str, Any] = {"timeout_seconds": seconds, "keep_open": keep}
            result = dvc.run(*arguments, cwd=ROOT, merge_errors=True, **limits, **settings)
    finally:
        for descriptor in gpu:
            os.close(descriptor)
    _checked(name, stage, result)
    return result.stages.get(name, dvc.Outcome("unchanged", 0.0))


def _pull(bring: list[str], settings: dict[str, Any]) -> dvc.Run:
    """What stages made elsewhere have made, many objects at once."""
    remote = load_remote(ROOT / storage.PLACE)
    if remote is None:
        return dvc.run("pull", *bring, cwd=ROOT, merge_errors=True, **settings)
    return restoring.pull(remote, bring, ROOT, stop.check, **settings)


def _checked(what: str, stage: graph.Stage, result: dvc.Run) -> None:
    """Raise where a command did not end well, with its last lines."""
    stop.check()
    if result.code == guard.TIMED_OUT:
        raise RuntimeError(f"{what}: ended after timeout_seconds {stage.timeout_seconds:g} of its meta in dvc.yaml")
    if result.code != 0:
        raise RuntimeError(f"{what}: exit {result.code}: {' | '.join(result.tail[-3:])}")


@contextlib.contextmanager
def _slot() -> Iterator[None]:
    """One of this machine's places for a stage; raises where the run is stopped while it waits."""
    while not slots.acquire(timeout=locks.POLL_SECONDS):
        stop.check()
    try:
        stop.check()
        yield
    finally:
        slots.release()


@task(task_run_name="push", cache_policy=NO_CACHE, persist_result=False)
def push_outs(name: str) -> None:
    """What the stage made, into the storage; transfers are tried again."""
    say = get_run_logger().info

    def push() -> None:
        stop.check()
        result = dvc.run("push", "--run-cache", name, say=say, cwd=ROOT, on_start=stop.watch)
        if result.code != 0:
            raise UserError(f"dvc push {name} failed (exit {result.code}): {result.tail[-1] if result.tail else ''}")

    stop.retried(push, TRANSFER_PAUSES, say)


@flow(name="stage", flow_run_name="{name}", task_runner=ThreadPoolTaskRunner(max_workers=2))  # type: ignore[arg-type]
def stage(name: str, run: str, force: bool = False) -> dict[str, Any]:
    """Run one stage for the flow run `run` of another machine; its outcome, which goes back with the lock."""
    log = get_run_logger()
    with stop.when_cancelled(), _ending_with(run):
        remote = storage.ensure_started()
        talk = exchange.Exchange(remote, run)
        request = talk.get(name, "request")
        held = locks.acquire(ROOT / locks.RUN, "another run of this repository", stop.check, log.info)
        try:
            exchange.apply_lock(ROOT, request["lock"])
            found = graph.read(ROOT).stages
            if name not in found:
                raise UserError(f"{name}: dvc.yaml on this machine has no such stage")
            here = exchange.sources(ROOT, found[name])
            exchange.check_sources(name, here, request["sources"], request["commit"])
            outcome = run_one.submit(name, found[name], force, [held]).result()
            if outcome.how != "unchanged":
                push_outs.submit(name).result()
        finally:
            os.close(held)
        reply = {"lock": exchange.read_lock(ROOT), **asdict(outcome)}
        talk.put(name, "reply", reply)
    return asdict(outcome)


@task(task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def run_one(name: str, found: graph.Stage, force: bool, held: list[int]) -> dvc.Outcome:
    """The stage itself, after what it reads has come from the storage."""
    return run_here(name, found, force, True, held, list(found.waits_for))


@contextlib.contextmanager
def _ending_with(run: str) -> Iterator[None]:
    """Stop where the flow run that asked for the stage is over or being cancelled: nobody would take the reply."""
    done = threading.Event()

    def watch() -> None:
        import httpx
        from prefect.exceptions import PrefectException

        while not done.wait(WATCH_SECONDS):
            with contextlib.suppress(httpx.HTTPError, PrefectException), get_client(sync_client=True) as client:
                state = client.read_flow_run(UUID(run)).state
                if state is not None and (state.is_final() or state.is_cancelling()):
                    stop.set()
                    return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join(timeout=WATCH_SECONDS)
