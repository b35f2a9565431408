"""Nothing of a guarded command outlives its caller, whatever ends first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from flows import guard

FAMILY = """\
import os, subprocess, sys, time
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
pids = open(sys.argv[1], "a")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
elsewhere = subprocess.Popen([sys.executable, "-c", DEAF], start_new_session=True)
pids.write(f"{os.getpid()}\\n{child.pid}\\n{elsewhere.pid}\\n")
pids.close()
time.sleep(600)
"""


def wait_until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def family_of(tmp_path: Path) -> list[int]:
    """Pids of a command, its child, and its child in another session that ignores SIGTERM."""
    file = tmp_path / "pids"
    assert wait_until(lambda: file.exists() and len(file.read_text().split()) == 3)
    return [int(pid) for pid in file.read_text().split()]


def family_command(tmp_path: Path) -> list[str]:
    return [sys.executable, "-c", FAMILY, str(tmp_path / "pids")]


@pytest.mark.parametrize("ending", ["terminate", "close", "kill"])
def test_ending_a_guard_ends_the_whole_family(tmp_path, ending):
    """Told, left alone, or itself killed (then the kernel ends the command itself)."""
    process = guard.popen(family_command(tmp_path))
    pids = family_of(tmp_path)
    assert len(alive(pids)) == 3
    if ending == "terminate":
        process.terminate()
    elif ending == "close":
        assert process.stdin is not None
        process.stdin.close()
    else:
        process.kill()
        pids, rest = pids[:1], pids[1:]
        assert wait_until(lambda: not alive(pids))
        for pid in alive(rest):
            os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not alive(pids))
    process.wait()


def test_a_caller_killed_by_sigkill_leaves_nothing(tmp_path):
    """The pipe closes with the caller; the guard sees it."""
    caller = subprocess.Popen(
        [sys.executable, "-c", f"from flows import guard; guard.popen({family_command(tmp_path)!r}).wait()"],
        cwd=Path(__file__).parents[1],
    )
    pids = family_of(tmp_path)
    caller.kill()
    caller.wait()
    assert wait_until(lambda: not alive(pids))


def test_the_exit_code_is_the_commands():
    assert guard.popen([sys.executable, "-c", "raise SystemExit(7)"]).wait() == 7


def test_what_a_finished_command_left_running_is_ended(tmp_path):
    """A stage that forgets a background process does not leave it on the machine."""
    code = (
        f"import subprocess, pathlib; p = subprocess.Popen(['sleep', '600']); "
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(p.pid))"
    )
    assert guard.popen([sys.executable, "-c", code]).wait() == 0
    assert not alive([int((tmp_path / "pid").read_text())])


def test_a_command_that_hangs_is_ended_when_its_time_is_over():
    assert (
        guard.popen([sys.executable, "-c", "import time; time.sleep(600)"], timeout_seconds=0.3).wait()
        == guard.TIMED_OUT
    )
