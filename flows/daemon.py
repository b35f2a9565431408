"""Processes that outlive the command that started them: recorded by pid and time of creation, found and ended again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

STOP_SECONDS = 15.0
LAUNCH = (sys.executable, "-I", str(Path(__file__).with_name("launch.py")))


def spawn(
    record: Path, command: list[str], log: Path, environment: dict[str, str], cwd: Path, held: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    """Start a command in its own session with its output in `log`; it records itself. `command[0]` is a path.

    The locks of the descriptors `held` stay held until there is a record, even where this process is killed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    recorded, recording = os.pipe()
    try:
        kept = (recording, *held)
        numbers = ",".join(str(descriptor) for descriptor in kept)
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [*LAUNCH, str(record.resolve()), numbers, *command],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=kept,
            )
    finally:
        os.close(recording)
        with open(recorded, "rb") as pipe:
            pipe.read()  # until the process has recorded itself, or is gone
    return process


def find(record: Path) -> psutil.Process | None:
    """The recorded process where it still lives: a pid counts only with its time of creation."""
    try:
        value = json.loads(record.read_text(encoding="utf-8"))
        process = psutil.Process(value["pid"])
        same = abs(process.create_time() - value["created"]) < 0.05 and process.status() != psutil.STATUS_ZOMBIE
        return process if same else None
    except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
        return None


def stop(record: Path) -> bool:
    """SIGTERM to the recorded process, SIGKILL where that did not help; False where none lived."""
    process = find(record)
    if process is not None:
        try:
            family = process.children(recursive=True)
            process.terminate()
            process.wait(STOP_SECONDS)
        except psutil.NoSuchProcess:
            family = []
        except psutil.TimeoutExpired:
            family = [*family, process]
        for member in family:
            if member.is_running():
                member.kill()
        psutil.wait_procs(family, STOP_SECONDS)
    record.unlink(missing_ok=True)
    return process is not None
