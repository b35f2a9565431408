"""Run a command so that nothing of it outlives its caller: `python -m flows.guard COMMAND...` with a pipe as stdin.

DVC starts a stage's command through a shell, training starts its own workers: killing DVC leaves them running, and a
caller killed by SIGKILL can end nobody. The guard stands between: a process of its own session that ends the command
and all its descendants when its stdin closes (the caller is gone), when it is told to (SIGTERM, SIGINT), or when the
time is over. It becomes the reaper of orphaned grandchildren (Linux), so it finds those in other sessions too.
It imports only the standard library: it starts in 30 ms and needs nothing of what it guards.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE_SECONDS = 4.0
"""Between SIGTERM and SIGKILL; a cancelled run must be over within 10 s."""
TIMED_OUT = 124
"""Exit code of a command that was ended because its time was over, as of coreutils' `timeout`."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
TIMEOUT_VARIABLE = "TEXTGAN_GUARD_SECONDS"
GUARDED_VARIABLE = "TEXTGAN_GUARDED"


def popen(command: list[str], timeout_seconds: float | None = None, **arguments: object) -> subprocess.Popen[str]:
    """Start a command under a guard. Its stdin is the pipe that keeps it alive: leave it open, close it to end all.

    Other arguments go to subprocess.Popen; `env` is taken as it is.
    """
    environment = dict(arguments.pop("env", None) or os.environ)  # type: ignore[call-overload]
    environment.pop(TIMEOUT_VARIABLE, None)
    if timeout_seconds:
        environment[TIMEOUT_VARIABLE] = str(timeout_seconds)
    return subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).resolve()), *command],
        stdin=subprocess.PIPE,
        env=environment,
        start_new_session=True,
        text=True,
        **arguments,  # type: ignore[call-overload]
    )


def main() -> None:
    """Guard the command of the arguments; the exit code is the command's."""
    seconds = float(os.environ.pop(TIMEOUT_VARIABLE, "0"))
    os.environ[GUARDED_VARIABLE] = "1"  # stage programs then also die with their parent (textgan.errors.program)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    told: list[int] = []
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: told.append(received))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    deadline = time.monotonic() + seconds if seconds else None
    timed_out = False
    while child.poll() is None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([0, wake_read], [], [], left)
        timed_out = deadline is not None and time.monotonic() >= deadline
        gone = 0 in ready and not os.read(0, 4096)
        if wake_read in ready:
            os.read(wake_read, 4096)
        if gone or told or timed_out:
            end(child)
            break
    code = child.wait()
    _kill_rest(child)
    if timed_out:
        code = TIMED_OUT
    raise SystemExit(128 + told[0] if told else code if code >= 0 else 128 - code)


def end(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the command and all below it; after the grace SIGKILL."""
    for pid in [child.pid, *descendants()]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline and (child.poll() is None or descendants()):
        time.sleep(0.05)
        _reap(child)
    _kill_rest(child)


def descendants() -> list[int]:
    """Pids of all living processes below this one, from /proc (empty where there is no /proc)."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text(errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(entry.parent.name)] = int(fields[1])
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        above = todo.pop()
        below = [pid for pid, parent in parents.items() if parent == above]
        found += below
        todo += below
    return found


def _kill_rest(child: subprocess.Popen[bytes]) -> None:
    """SIGKILL until nothing is left: a process may fork while the list is read."""
    for _ in range(50):
        left = descendants()
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        _reap(child)


def _reap(child: subprocess.Popen[bytes]) -> None:
    """Collect orphans that came to this process; the command's own exit code is left for its Popen."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid == child.pid:
                child.poll()
            else:
                os.waitpid(ended.si_pid, 0)


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere the guard does without."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
