"""Tasks whose worker is killed; a module of its own, because every worker imports it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pipeline import shards
from pipeline.shards import ShardTask


def die_once(task: tuple[Path, int]) -> int:
    """A worker killed in its first attempt at a task."""
    mark, number = task
    if number == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_always(task: int) -> int:
    """A worker that is killed at every attempt."""
    os.kill(os.getpid(), signal.SIGKILL)
    return task


def die_in_mid_shard(task: ShardTask) -> int:
    """Builds shards; the first worker of all is killed before its shard has its name."""
    mark = task.path.parent.parent / "mark"
    if not mark.exists():
        mark.touch()
        shards.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    return shards.build_shard(task)


def own_pid(_: int) -> int:
    """The worker that had the task, after long enough for the others to have one too."""
    time.sleep(0.05)
    return os.getpid()
