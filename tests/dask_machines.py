"""A Dask scheduler and a worker as other machines have them: processes that stand in another directory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


@contextlib.contextmanager
def started(place: Path, threads: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """(address, scheduler) with one worker of some threads, whose working directory is the root."""
    environment = {name: value for name, value in os.environ.items() if name != "TEXTGAN_DASK"}
    environment["PYTHONPATH"] = str(REPOSITORY)
    file = place / "scheduler.json"

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        with open(place / f"{arguments[0]}.log", "wb") as log:
            command = [sys.executable, "-m", f"distributed.cli.dask_{arguments[0]}", *arguments[1:], "--no-dashboard"]
            return subprocess.Popen(command, env=environment, cwd="/", stdout=log, stderr=log)

    scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
    processes = [scheduler]
    try:
        while not (address := _address(file)):
            assert scheduler.poll() is None, (place / "scheduler.log").read_text()
            time.sleep(0.05)
        worker = start("worker", "--scheduler-file", str(file), "--nthreads", str(threads))
        processes.insert(0, worker)
        yield address, scheduler
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _address(file: Path) -> str | None:
    """Of a scheduler, once its file is whole: it is not written in one go, and a worker that reads half of it ends."""
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        return str(json.loads(file.read_text())["address"])
    return None
