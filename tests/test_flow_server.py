"""A real Prefect server and real workers: a cron run happens; cancels and kills leave nothing and lose nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows import daemon, graph
from tests import tiny_repository as tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FLOWS = Path(__file__).parents[1] / "flows"
OVER = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Server:
    """The tiny repository with its server, asked through the prefect command."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.home = place / ".state" / "prefect"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.environment = {**clean, "PREFECT_HOME": str(self.home), "TEXTGAN_GPU_LOCK": str(place / ".state" / "gpu")}

    def call(self, *arguments: str) -> str:
        environment = dict(self.environment)
        if (self.home / "url").exists():
            environment["PREFECT_API_URL"] = (self.home / "url").read_text()
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=self.place, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def runs(self) -> list[dict[str, Any]]:
        """Flow runs that are no longer only scheduled, newest first."""
        code = (
            "import asyncio, json; from prefect.client.orchestration import get_client\n"
            "async def main():\n"
            "    async with get_client() as client:\n"
            "        runs = await client.read_flow_runs(limit=50)\n"
            "        print(json.dumps([{'id': str(r.id), 'state': r.state.type.value, 'cron': r.auto_scheduled,\n"
            "                           'created': str(r.created)} for r in runs]))\n"
            "asyncio.run(main())"
        )
        environment = {**self.environment, "PREFECT_API_URL": (self.home / "url").read_text()}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        runs = json.loads(done.stdout.splitlines()[-1])
        return sorted(
            (run for run in runs if run["state"] != "SCHEDULED"), key=lambda run: run["created"], reverse=True
        )

    def state_of(self, run: str) -> str:
        return next((entry["state"] for entry in self.runs() if entry["id"] == run), "SCHEDULED")

    def submit(self) -> str:
        """Start a run by hand; its id."""
        shown = self.call("prefect", "deployment", "run", "pipeline/pipeline")
        return next(line.split()[-1] for line in shown.splitlines() if "UUID" in line)

    def at_work(self) -> list[int]:
        """Pids of living stage programs."""
        file = self.place / "pids"
        pids = [int(line.split()[0]) for line in file.read_text().splitlines()] if file.exists() else []
        return [pid for pid in pids if psutil.pid_exists(pid) and "work.py" in " ".join(psutil.Process(pid).cmdline())]


def wait_until(holds: Callable[[], bool], seconds: float = 180.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.3)
    return holds()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tiny.make(tmp_path_factory.mktemp("server") / "tiny")
    (place / "flows").symlink_to(FLOWS)
    prefect = yaml.safe_load((FLOWS.parent / "prefect.yaml").read_text())
    [pipeline] = [deployment for deployment in prefect["deployments"] if deployment["name"] == "pipeline"]
    pipeline["schedules"] = [{"cron": "* * * * *", "timezone": "UTC", "active": True}]
    (place / "prefect.yaml").write_text(yaml.safe_dump({**prefect, "deployments": [pipeline]}))
    tiny.commit(place, "a schedule")
    server = Server(place)
    try:
        server.call("flows.server", "start")
        yield server
    finally:
        server.call("flows.server", "stop")
        server.call("textgan.cli", "storage", "stop")


def test_a_cron_run_happens_and_brings_the_graph_up_to_date(server, monkeypatch):
    assert wait_until(lambda: any(run["cron"] and run["state"] in OVER for run in server.runs()), 300)
    assert [run["state"] for run in server.runs() if run["cron"]][-1] == "COMPLETED"
    server.call("prefect", "deployment", "schedule", "clear", "pipeline/pipeline", "--accept-yes")
    assert wait_until(lambda: all(run["state"] in OVER for run in server.runs()))
    assert graph.read(server.place).to_run() == []
    assert len((server.place / "pids").read_text().splitlines()) == 6
    assert "up to date" in server.call("dvc", "repro")


def test_a_cancelled_run_leaves_no_process_and_starts_no_stage(server):
    (server.place / "slow").write_text("middle-one")
    edit_seed(server.place, 11)
    run = server.submit()
    assert wait_until(lambda: bool(server.at_work()))
    server.call("prefect", "flow-run", "cancel", run)
    assert wait_until(lambda: not server.at_work(), 20)
    assert wait_until(lambda: server.state_of(run) == "CANCELLED")
    assert "evaluate-one" not in (server.place / "pids").read_text().split("middle-one")[-1]


def test_a_flow_killed_by_sigkill_ends_its_stage_and_its_run(server):
    run = server.submit()
    assert wait_until(lambda: bool(server.at_work()))
    worker = daemon.find(server.home / "worker-cpu.json")
    assert worker is not None
    for child in worker.children():
        child.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not server.at_work(), 20)
    assert wait_until(lambda: server.state_of(run) in {"CRASHED", "FAILED"})


def test_server_and_worker_killed_by_sigkill_start_again_and_the_graph_is_finished(server):
    for name in ("worker-cpu", "server"):
        process = daemon.find(server.home / f"{name}.json")
        assert process is not None
        for member in [*process.children(recursive=True), process]:
            member.kill()
    assert wait_until(lambda: not server.at_work(), 20)
    (server.place / "slow").unlink()
    server.call("flows.server", "start")
    server.call("prefect", "deployment", "schedule", "clear", "pipeline/pipeline", "--accept-yes")
    run = server.submit()
    assert wait_until(lambda: server.state_of(run) in OVER)
    assert server.state_of(run) == "COMPLETED"
    assert graph.read(server.place).to_run() == []


def test_keys_are_in_no_log_parameter_or_artifact(server):
    secret = json.loads((server.place / ".state" / "storage" / "remote.json").read_text())["secret_key"].encode()
    for path in server.home.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path


def edit_seed(place: Path, seed: int) -> None:
    """Make the stages of dataset one stale."""
    value = yaml.safe_load((place / "params.yaml").read_text())
    value["draw"]["one"]["seed"] = seed
    (place / "params.yaml").write_text(yaml.safe_dump(value))
