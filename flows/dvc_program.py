"""DVC as a program: its commands run under a guard, its output streamed, and told stage from stage."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows import guard, torn
from flows.history import load_yaml

Say = Callable[[str], object]
PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "errors": "replace"}
RUNNING = re.compile(r"^Running stage '(.+)':$")
SKIPPED = re.compile(r"^Stage '(.+)' didn't change, skipping$")
RESTORED = re.compile(r"^Stage '(.+)' is cached - skipping run, checking out outputs$")
PULLED = re.compile(r"^Pulling data for stage: '(.+)'$")
HOW = ((RUNNING, "ran"), (SKIPPED, "unchanged"), (RESTORED, "restored"), (PULLED, "restored"))
HINTS = re.compile(r"^(To track the changes with git|To enable auto staging|Use `dvc push`|\tgit add|\tdvc config)")
"""DVC's advice to people who type its commands."""


@dataclass(slots=True)
class Outcome:
    """What one stage did in a run. how: ran, restored, unchanged or failed."""

    how: str
    seconds: float


OnStage = Callable[[str, Outcome], object]
OnStart = Callable[[subprocess.Popen[str]], None]


@dataclass(slots=True)
class Run:
    """One DVC command: its exit code, its last lines, and the stages that it went through, in order."""

    code: int = -1
    stages: dict[str, Outcome] = field(default_factory=dict)
    tail: list[str] = field(default_factory=list)


def environment() -> dict[str, str]:
    """What every DVC command gets: the venv's programs first, fixed string hashing, no telemetry."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    quiet = {"DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, "PATH": path, "PYTHONHASHSEED": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8", **quiet}


def command(*arguments: str) -> list[str]:
    """The argv of a DVC command; it waits for another's lock instead of failing."""
    return [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]


def run(
    *arguments: str,
    say: Say,
    on_stage: OnStage = lambda _stage, _outcome: None,
    timeout_seconds: float | None = None,
    cwd: Path | None = None,
    merge_errors: bool = False,
    on_start: OnStart = lambda _process: None,
    keep_open: tuple[int, ...] = (),
) -> Run:
    """Run a DVC command to its end. `say` gets each line; `on_stage` each stage once it is over.

    Errors and progress bars of stages go to stderr as they are, or with `merge_errors` through `say` too. The
    descriptors of `keep_open` stay open in the guard, which ends last. What a killed DVC left half-written is mended.
    """
    root = cwd or Path()
    torn.mend(root, say)
    torn.keep(root)

    def ended(stage: str, outcome: Outcome) -> None:
        torn.keep(root)
        on_stage(stage, outcome)

    errors = {"stderr": subprocess.STDOUT} if merge_errors else {}
    process = guard.popen(
        command(*arguments), timeout_seconds, cwd=cwd, env=environment(), pass_fds=keep_open, **PIPES, **errors
    )
    on_start(process)
    return follow(process, say, ended)


def follow(process: subprocess.Popen[str], say: Say, on_stage: OnStage = lambda _stage, _outcome: None) -> Run:
    """Read a guarded DVC command's output to its end."""
    result = Run()
    current: tuple[str, str, float] | None = None

    def close(how: str | None = None) -> None:
        nonlocal current
        if current is not None:
            stage, meant, began = current
            result.stages[stage] = Outcome(how or meant, round(time.monotonic() - began, 2))
            on_stage(stage, result.stages[stage])
            current = None

    with passing_signals_on(process):
        assert process.stdout is not None
        for line in process.stdout:
            line = line.rstrip("\n")
            for pattern, how in HOW:
                if match := pattern.match(line):
                    close()
                    current = (match[1], how, time.monotonic())
            if line.strip() and not HINTS.match(line):
                result.tail = [*result.tail[-19:], line]
                say(line)
        result.code = process.wait()
    close(None if result.code == 0 else "failed")
    return result


@contextlib.contextmanager
def passing_signals_on(process: subprocess.Popen[str]) -> Iterator[None]:
    """While the block runs, SIGTERM and SIGINT end the guarded command first, then this process as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: Any) -> None:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def lock_outs(text: str) -> dict[str, dict[str, str]]:
    """{stage: {out: hash}} of a dvc.lock's text."""
    stages = (load_yaml(text) or {}).get("stages", {})
    return {
        name: {out["path"]: out.get("md5") or out.get("hash", "") for out in entry.get("outs", [])}
        for name, entry in stages.items()
    }
