"""What Prefect adds: a run with nothing to do, a stage, two slots (bars: 6 s, 2 s, 60 %).

A repository of small stages in a temporary directory, with a server and a worker of its own. The flow is started as a
process against the running server, as `python -m flows.pipeline` and as a worker do. The bars are for wall seconds of a
quiet machine; CPU seconds (of the flow and all that it starts, not of the server) say much the same of a busy one.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[1]
STAGES = 4
SLEEP_SECONDS = 10.0
"""Of each sleeping stage: what DVC and Python need for one is small beside it."""
REPEATS = 3


def make(place: Path, seconds: float) -> None:
    """Independent stages that sleep, and the parameters that flows read."""
    place.mkdir()
    (place / ".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", "params.yaml"):
        shutil.copy(PROJECT / name, place / name)
    stage = {"cmd": f"sleep {seconds} && touch ${{item}}", "outs": ["${item}"], "meta": {"pool": "cpu"}}
    names = [f"out-{idx}" for idx in range(STAGES)]
    (place / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"nap": {"foreach": names, "do": stage}}}))
    (place / ".gitignore").write_text(".state\n/out-*\n/flows\n")
    (place / "flows").symlink_to(PROJECT / "flows")
    who = ["-c", "user.name=b", "-c", "user.email=b@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "b"]):
        subprocess.run(["git", *command], cwd=place, check=True)


@dataclass(frozen=True, slots=True)
class Seconds:
    """What a command took."""

    wall: float
    cpu: float


def seconds_of(place: Path, *arguments: str) -> Seconds:
    """Seconds of a module run in the repository."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    start, before = time.monotonic(), cpu_seconds()
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=place, env={**environment, "PATH": path}, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)}: exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Seconds(time.monotonic() - start, cpu_seconds() - before)


def cpu_seconds() -> float:
    """Of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def median(found: list[Seconds]) -> Seconds:
    """Wall and CPU each."""
    return Seconds(statistics.median(one.wall for one in found), statistics.median(one.cpu for one in found))


def measure(place: Path, sleep_seconds: float, repeats: int) -> dict[str, float]:
    """The numbers, and what they were made of."""
    make(place, sleep_seconds)
    deployment = {"name": "pipeline", "entrypoint": "flows/pipeline.py:pipeline", "work_pool": {"name": "cpu"}}
    (place / "prefect.yaml").write_text(yaml.safe_dump({"name": "bench", "deployments": [deployment]}))
    try:
        seconds_of(place, "flows.server", "start")
        serial = seconds_of(place, "dvc", "repro", "-q")
        seconds_of(place, "flows.pipeline")  # pushes
        status = median([seconds_of(place, "dvc", "status", "-q") for _ in range(repeats)])
        idle = median([seconds_of(place, "flows.pipeline") for _ in range(repeats)])
        one = seconds_of(place, "flows.pipeline", "--force", "--no-push", "--targets", "nap@out-0")
        both = seconds_of(place, "flows.pipeline", "--force", "--no-push")
        return {
            "status_seconds": status.wall,
            "idle_added_seconds": idle.wall - status.wall,
            "idle_added_cpu_seconds": idle.cpu - status.cpu,
            "stage_overhead_seconds": (both.wall - idle.wall) / (STAGES / 2) - sleep_seconds,  # of two in a row
            "stage_overhead_cpu_seconds": (both.cpu - one.cpu) / (STAGES - 1),
            "serial_seconds": serial.wall,
            "two_slots_of_serial": (both.wall - idle.wall) / serial.wall,
            "two_slots_of_serial_with_startup": both.wall / serial.wall,
            "load_average": os.getloadavg()[0],
        }
    finally:
        seconds_of(place, "flows.server", "stop")
        seconds_of(place, "textgan.cli", "storage", "stop")


def main() -> None:
    """Print the numbers as one JSON object."""
    sleep_seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SLEEP_SECONDS
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else REPEATS
    with tempfile.TemporaryDirectory(prefix="flow-speed-") as place:
        found = measure(Path(place) / "bench", sleep_seconds, repeats)
    print(json.dumps({name: round(value, 3) for name, value in found.items()}, indent=2))


if __name__ == "__main__":
    main()
