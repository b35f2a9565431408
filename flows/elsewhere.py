"""A stage whose pool this machine does not serve: asked of a worker elsewhere, waited for, its lock taken back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from prefect import get_client, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, WorkerStatus
from prefect.context import get_run_context
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from flows import ROOT, exchange, graph, storage
from flows import dvc_program as dvc
from flows.history import LOCK_FILE
from flows.repro import push_if_needed
from flows.stopping import TRANSFER_PAUSES, Stop
from textgan.errors import UserError

POLL_SECONDS = 1.0
WORKER_SECONDS = float(os.environ.get("TEXTGAN_WORKER_SECONDS", "120"))
"""How long a stage waits for a worker of its pool to be there at all; one that is busy is waited for without end."""


def run(name: str, stage: graph.Stage, force: bool, stop: Stop, say: Callable[[str], object]) -> dvc.Outcome:
    """Have a worker of the stage's pool run it; what it made is in the storage afterwards, and in this dvc.lock."""
    remote = storage.ensure_started()
    push_inputs(remote.identity, stop, say)
    context: Any = get_run_context()
    talk = exchange.Exchange(remote, str(context.task_run.flow_run_id))
    sources, lock = exchange.sources(ROOT, stage), exchange.read_lock(ROOT)
    talk.put(name, "request", {"lock": lock, "sources": sources, "commit": exchange.head(ROOT)})
    try:
        with get_client(sync_client=True) as client:
            asked = _ask(name, stage.pool, talk.run, force)
            say(f"{name}: asked of the pool {stage.pool} as flow run {asked.name}")
            _wait(client, asked, stage.pool, stop.check, say)
        reply = talk.get(name, "reply")
        exchange.merge_lock(ROOT, name, reply["lock"])
    finally:
        talk.clear(name)
    return dvc.Outcome(reply["how"], reply["seconds"])


@task(task_run_name="push", cache_policy=NO_CACHE, persist_result=False)
def push_inputs(identity: str, stop: Stop, say: Callable[[str], object]) -> None:
    """What the stage reads must be in the storage before another machine can have it."""
    if (ROOT / LOCK_FILE).exists():
        stop.retried(lambda: push_if_needed(identity, say=say, on_start=stop.watch), TRANSFER_PAUSES, say)


def _ask(name: str, pool: str, run: str, force: bool) -> FlowRun:
    try:
        parameters = {"name": name, "run": run, "force": force}
        asked: Any = run_deployment(f"stage/{pool}", parameters=parameters, timeout=0, flow_run_name=name)
    except ObjectNotFound:
        raise UserError(f"{name}: the server has no deployment stage/{pool}; `make server` registers it") from None
    return asked  # type: ignore[no-any-return]


def _wait(
    client: SyncPrefectClient, asked: FlowRun, pool: str, check: Callable[[], None], say: Callable[[str], object]
) -> None:
    """Until the worker's run is over. Raises UserError where no worker takes it; a stopped run cancels it."""
    missing_since: float | None = None
    try:
        while True:
            check()
            state = client.read_flow_run(asked.id).state
            if state is not None and state.is_final():
                break
            if (state is not None and not state.is_scheduled()) or _has_worker(client, pool):
                missing_since = None
            elif missing_since is None:
                missing_since = time.monotonic()
                say(f"waiting for a worker on the work pool {pool}: none is online")
            elif time.monotonic() - missing_since > WORKER_SECONDS:
                raise UserError(f"no worker is online on the work pool {pool}; `make worker` on its machine starts one")
            time.sleep(POLL_SECONDS)
    except BaseException:
        client.set_flow_run_state(asked.id, Cancelling(message="the run that asked for it is over"))
        raise
    if not state.is_completed():
        raise RuntimeError(f"on the pool {pool}: {state.message or state.name}")


def _has_worker(client: SyncPrefectClient, pool: str) -> bool:
    """Whether a worker of the pool has lately said that it is there."""
    try:
        return any(worker.status == WorkerStatus.ONLINE for worker in client.read_workers_for_work_pool(pool))
    except ObjectNotFound:
        raise UserError(f"the server has no work pool {pool}; `make server` makes it") from None
