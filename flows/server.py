"""`make server`, `server-status`, `server-stop`: a Prefect server on loopback, work pools, workers, the deployments.

All of it lives in the clone's `.state/prefect`, a SQLite database among it, and listens on loopback only. Each part
that runs already is left alone, so that `make server` after a crash starts what is missing. With
PREFECT_API_DATABASE_CONNECTION_URL (Postgres) and PREFECT_API_URL in the environment, those are used instead.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer

from flows import ROOT, daemon, database
from flows.seaweed import PORTS, is_free
from textgan import local
from textgan.errors import UserError, program
from textgan.files import write_bytes

HOME = Path(os.environ["PREFECT_HOME"])
URL_FILE = HOME / "url"
POOLS = {"cpu": 2, "gpu": 1}
"""Work pools and how many runs the worker of each takes at once."""
START_SECONDS = 600.0
"""A server that dies is noticed at once; a busy machine may take minutes to import it."""
HEARTBEAT_SECONDS = 30
LOST_AFTER = timedelta(seconds=100)
"""A run whose process has given no heartbeat for this long is over, whatever its state says."""


def start() -> None:
    """Start what does not run, register the deployments, and print the addresses."""
    local.apply()
    url = _server()
    environment = _environment(url)
    os.environ.update(environment)  # before Prefect is first imported
    asyncio.run(_prepare())
    _deploy(environment)
    started = _workers(environment)
    print(f"Prefect: {url.removesuffix('/api')} (workers of {', '.join(started)}; logs in {HOME})")
    print(f"For the prefect command: export PREFECT_API_URL={url} PREFECT_HOME={HOME}")


def worker() -> None:
    """Start this machine's workers for a server that runs elsewhere, whose address is PREFECT_API_URL."""
    local.apply()
    url = os.environ.get("PREFECT_API_URL", "")
    if not url:
        raise UserError(
            "PREFECT_API_URL is not set; it must be the address that `make server` printed, or a tunnel to it"
        )
    if not _healthy(url):
        raise UserError(f"PREFECT_API_URL is {url}; no Prefect server answers there")
    started = _workers(_environment(url))
    print(f"Prefect: workers of {', '.join(started)} for {url} (logs in {HOME})")


def _workers(environment: dict[str, str]) -> list[str]:
    """A worker for each pool that this machine serves; those that run already stay."""
    served = [pool for pool in POOLS if pool in environment.get("TEXTGAN_POOLS", "cpu,gpu").split(",")]
    if not served:
        raise UserError(f"TEXTGAN_POOLS is {environment['TEXTGAN_POOLS']!r}; it must name some of {', '.join(POOLS)}")
    # The runs' own processes get it: it is where this machine has the repository. No worker talks to the database.
    private = {name: value for name, value in environment.items() if not name.startswith(database.PREFIXES)}
    private |= {"TEXTGAN_HERE": str(ROOT)}
    for pool in served:
        record = HOME / f"worker-{pool}.json"
        if daemon.find(record) is None:
            names = ["--pool", pool, "--name", _worker_name(pool)]
            command = [*PREFECT, "worker", "start", *names, "--limit", str(POOLS[pool])]
            daemon.spawn(record, command, HOME / f"worker-{pool}.log", private, ROOT)
    return served


def _worker_name(pool: str) -> str:
    return f"textgan-{socket.gethostname()}-{pool}"


def stop() -> None:
    """End workers and server."""
    ended = [name for name in (*(f"worker-{pool}" for pool in POOLS), "server") if daemon.stop(HOME / f"{name}.json")]
    URL_FILE.unlink(missing_ok=True)
    print(f"Prefect: stopped {', '.join(ended)}" if ended else "Prefect: nothing of this clone was running")


def status() -> None:
    """Say which parts run and which runs wait; exit code 1 where the server or a pool's worker is missing."""
    local.apply()
    url = os.environ.get("PREFECT_API_URL", "")
    if not url:
        raise UserError("PREFECT_API_URL is not set and no server of this clone is known; `make server` starts one")
    check_answers()
    missing = []
    for pool in POOLS:
        workers = [one["name"] for one in _ask(f"{url}/work_pools/{pool}/workers/filter") if one["status"] == "ONLINE"]
        if (HOME / f"worker-{pool}.json").exists() and daemon.find(HOME / f"worker-{pool}.json") is None:
            workers = [name for name in workers if name != _worker_name(pool)]  # it is gone; the server hears later
        missing += [] if workers else [pool]
        print(f"work pool {pool}: {', '.join(workers) or 'no worker'}")
    late = _ask(f"{url}/flow_runs/filter", {"flow_runs": {"state": {"name": {"any_": ["Late"]}}}})
    for run in late:
        pool, due = run["work_pool_name"], run["expected_start_time"]
        print(f"waiting for a worker of the work pool {pool}: flow run {run['name']}, due {due}")
    if missing:
        raise UserError(
            f"no worker is online on the work pool {' and '.join(missing)}; `make server`, or `make worker` on the "
            "pool's own machine, starts one"
        )
    print(f"Prefect: {url.removesuffix('/api')}")


PREFECT = [sys.executable, "-m", "prefect"]


def _server() -> str:
    """The address of a server that answers: the environment's, this clone's running one, or a new one."""
    ours = URL_FILE.read_text(encoding="utf-8").strip() if URL_FILE.exists() else ""
    given = os.environ.get("PREFECT_API_URL", "")
    if given and given != ours:
        if not _healthy(given):
            raise UserError(f"PREFECT_API_URL is {given}; no Prefect server answers there")
        return given
    os.environ.pop("PREFECT_API_URL", None)  # importing flows has put ours there
    record = HOME / "server.json"
    if ours and daemon.find(record) is not None:
        return ours
    database.check()
    HOME.mkdir(parents=True, exist_ok=True, mode=0o700)
    port = _port()
    url = f"http://127.0.0.1:{port}/api"
    command = [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = daemon.spawn(record, command, HOME / "server.log", _environment(url), ROOT)
    deadline = time.monotonic() + START_SECONDS
    while not _healthy(url):
        if process.poll() is not None or time.monotonic() > deadline:
            daemon.stop(record)
            raise UserError(f"the Prefect server does not start; {HOME}/server.log says why")
        time.sleep(0.2)
    if url != ours:
        for pool in POOLS:  # workers of an address that is no more
            daemon.stop(HOME / f"worker-{pool}.json")
    write_bytes(URL_FILE, url.encode())
    return url


def _port() -> int:
    """The port of the first start where it is free, so that the address stays."""
    path = HOME / "port"
    if path.exists() and is_free(port := int(path.read_text(encoding="utf-8"))):
        return port
    port = next(port for port in iter(lambda: secrets.choice(PORTS), None) if is_free(port))
    write_bytes(path, str(port).encode())
    return port


def _environment(url: str) -> dict[str, str]:
    settings = {
        "PREFECT_API_URL": url,
        "TEXTGAN_ROOT": str(ROOT),
        "PYTHONPATH": str(ROOT),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
        "PREFECT_WORKER_CANCELLATION_POLL_SECONDS": "5",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # SQLite on a busy machine; after the default 10 s requests fail
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_RUNNER_CRASH_ON_CANCELLATION_FAILURE": "true",
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, **{name: os.environ.get(name, value) for name, value in settings.items()}}


def _deploy(environment: dict[str, str]) -> None:
    """Register the deployments of prefect.yaml; the command's last line is the error where it fails."""
    command = [*PREFECT, "--no-prompt", "deploy", "--all", "--prefect-file", str(ROOT / "prefect.yaml")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise UserError(f"prefect deploy: {' '.join(last)}")


def check_answers() -> None:
    """Refuse an address at which no server answers: Prefect itself would say so with a page of trace."""
    url = os.environ.get("PREFECT_API_URL", "")
    if url and not _healthy(url):
        raise UserError(f"PREFECT_API_URL is {url}; no Prefect server answers there, and `make server` starts one")


def _ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """A question to the server's API that is a POST."""
    head = {"Content-Type": "application/json"}
    if auth := os.environ.get("PREFECT_API_AUTH_STRING"):
        head["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    request = urllib.request.Request(url, json.dumps(body or {}).encode(), head, method="POST")
    try:  # an http address, which was asked for its health before
        with urllib.request.urlopen(request, timeout=30) as reply:  # nosec B310
            return json.loads(reply.read())
    except urllib.error.HTTPError as error:
        raise UserError(f"{url}: {error.code} {error.reason}") from None


def _healthy(url: str) -> bool:
    try:  # an http address, which this module wrote
        with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:  # nosec B310
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


async def _prepare() -> None:
    """Work pools, and the automation that ends runs whose process is gone: they would show Running for ever."""
    from prefect.automations import AutomationCore
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import EventTrigger, Posture
    from prefect.workers.process import ProcessWorker

    name = "textgan: end runs whose process is gone"
    trigger = EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={
            "prefect.flow-run.heartbeat",
            "prefect.flow-run.Completed",
            "prefect.flow-run.Failed",
            "prefect.flow-run.Cancelled",
            "prefect.flow-run.Crashed",
        },
        match={"prefect.resource.id": "prefect.flow-run.*"},  # type: ignore[arg-type]
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=LOST_AFTER,
    )
    message = f"no heartbeat for {LOST_AFTER.total_seconds():.0f} s: its process is gone"
    action = ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, message=message, force=True)
    template = ProcessWorker.get_default_base_job_template()
    async with get_client() as client:
        for pool, limit in POOLS.items():
            wanted = WorkPoolCreate(name=pool, type="process", base_job_template=template, concurrency_limit=limit)
            await client.create_work_pool(wanted, overwrite=True)
        if not await client.read_automations_by_name(name):
            await client.create_automation(AutomationCore(name=name, trigger=trigger, actions=[action]))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(start)
    app.command()(stop)
    app.command()(worker)
    app.command()(status)
    program(app)
