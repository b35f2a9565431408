"""Processes that outlive the command that started them: recorded by pid and time of creation, found and ended again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import psutil

from textgan.files import write_json

STOP_SECONDS = 15.0


def spawn(
    record: Path, command: list[str], log: Path, environment: dict[str, str], cwd: Path
) -> subprocess.Popen[bytes]:
    """Start a command in its own session with its output in `log`, and record it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    write_json(record, {"pid": process.pid, "created": psutil.Process(process.pid).create_time()})
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
