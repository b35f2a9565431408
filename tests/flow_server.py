"""A real Prefect server over a small repository, asked over HTTP: a prefect command would cost seconds of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests import tiny_repository as tiny

FLOWS = Path(__file__).parents[1] / "flows"
OVER = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
PATIENCE_SECONDS = 900
"""For machines that others keep busy; a quiet one needs a minute at most for anything here."""


class Server:
    """A repository with its server. `settings` go to the environment of all that runs in it."""

    def __init__(self, place: Path, **settings: str) -> None:
        self.place = place
        self.home = place / ".state" / "prefect"
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_", "TEXTGAN_"))
        }
        self.environment = {**clean, "TEXTGAN_GPU_LOCK": str(place / ".state" / "gpu"), **settings}
        if not (place / "flows").exists():
            (place / "flows").symlink_to(FLOWS)

    def call(self, *arguments: str) -> str:
        """Run a module of the repository; its output."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=self.place, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """Run a module of the repository that must fail with one line, which is returned."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=self.place, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 1 and done.stderr.startswith("error: "), done.stdout + done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request to the server's API."""
        url = (self.home / "url").read_text() + path
        assert url.startswith("http://127.0.0.1:")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=120) as reply:
                    text = reply.read()
                return json.loads(text) if text else None
            except urllib.error.HTTPError as error:  # SQLite was busy for too long: Prefect's own clients ask again too
                if error.code != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def deployment(self, name: str = "pipeline/pipeline") -> str:
        return str(self.ask("GET", f"/deployments/name/{name}")["id"])

    def runs(self) -> list[dict[str, Any]]:
        """Flow runs that have begun, oldest first."""
        runs = self.ask("POST", "/flow_runs/filter", {"sort": "START_TIME_ASC"})
        return [run for run in runs if run["state_type"] != "SCHEDULED"]

    def state_of(self, run: str) -> str:
        return str(self.ask("GET", f"/flow_runs/{run}")["state_type"])

    def said(self, words: str, runs: list[str]) -> list[str]:
        """Messages of these flow runs that have the words."""
        chosen = {"logs": {"flow_run_id": {"any_": runs}}, "limit": 200}
        return [one["message"] for one in self.ask("POST", "/logs/filter", chosen) if words in one["message"]]

    def files_with(self, text: str) -> list[Path]:
        """Files of the server (database, logs) that hold the text: a log line, a parameter, an artifact."""
        found = [path for path in self.home.rglob("*") if path.is_file()]
        return [path for path in found if text.encode() in path.read_bytes()]

    def submit(self, name: str = "pipeline/pipeline", **parameters: Any) -> str:
        """Start a run by hand; its id."""
        path = f"/deployments/{self.deployment(name)}/create_flow_run"
        return str(self.ask("POST", path, {"parameters": parameters})["id"])

    def finish(self, run: str) -> str:
        """Wait for a run's end; its state and message in one text."""
        wait_until(lambda: self.state_of(run) in OVER, "the run is over")
        state = self.ask("GET", f"/flow_runs/{run}")["state"]
        return f"{state['type']} {state['message'] or ''}"

    def run(self, name: str = "pipeline/pipeline", **parameters: Any) -> str:
        """Start a run and wait for its end; its state and message."""
        return self.finish(self.submit(name, **parameters))

    def artifact(self, key: str) -> Any:
        """The newest artifact of a key: parsed where it is a table."""
        data = self.ask("GET", f"/artifacts/{key}/latest")["data"]
        return json.loads(data) if data.startswith("[") else data

    def cancel(self, run: str) -> None:
        """What the UI's button does."""
        self.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})

    def started(self) -> list[str]:
        """The outs of all stages that were ever started, in order."""
        file = self.place / "pids"
        return [line.split()[1] for line in file.read_text().splitlines()] if file.exists() else []

    def at_work(self) -> list[int]:
        """Pids of living stage programs and DVC commands of this repository."""
        return self._processes("dvc", "work.py")

    def programs(self) -> list[int]:
        """Pids of living stage programs alone; a shell of DVC's has the name in one long argument."""
        return self._processes("work.py")

    def prefect_processes(self) -> list[int]:
        """Pids of server, workers and runs."""
        return self._processes("prefect", "prefect.engine")

    def _processes(self, *words: str) -> list[int]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(self.place) and set(words) & set(process.cmdline()):
                    found.append(process.pid)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def asleep(self) -> bool:
        """Whether the stage that was told to sleep does."""
        return bool(self.started()) and self.started()[-1].endswith("middle-one") and bool(self.at_work())


def choose_deployments(place: Path, *names: str, cron: str = "") -> None:
    """The project's prefect.yaml with these deployments alone, run by the clock only where `cron` says when."""
    value = yaml.safe_load((FLOWS.parent / "prefect.yaml").read_text())
    schedules = [{"cron": cron, "timezone": "UTC", "active": True}] if cron else []
    chosen = [{**one, "schedules": schedules} for one in value["deployments"] if one["name"] in names]
    (place / "prefect.yaml").write_text(yaml.safe_dump({**value, "deployments": chosen}))


@contextlib.contextmanager
def serving(place: Path, *names: str, cron: str = "", **settings: str) -> Iterator[Server]:
    """The repository's server with these deployments, all of it committed; nothing runs afterwards."""
    choose_deployments(place, *names, cron=cron)
    for key, value in (("user.name", "test"), ("user.email", "test@localhost")):
        tiny.git(place, "config", key, value)
    server = Server(place, **settings)
    tiny.commit(place, "what the test's server needs")
    try:
        server.call("flows.server", "start")
        yield server
    finally:
        server.call("flows.server", "stop")
        server.call("textgan.cli", "storage", "stop")


def wait_until(holds: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> float:
    """Seconds that it took; fails where it never came to hold."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.5)
    return time.monotonic() - start


def edit_seed(place: Path, seed: int) -> None:
    """Make the stages of dataset one stale."""
    value = yaml.safe_load((place / "params.yaml").read_text())
    value["draw"]["one"]["seed"] = seed
    (place / "params.yaml").write_text(yaml.safe_dump(value))
