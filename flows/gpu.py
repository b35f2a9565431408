"""One GPU training at a time on a host: a file lock that the kernel frees when the last holder ends."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.5


def lock_path() -> Path:
    """The host's lock file; TEXTGAN_GPU_LOCK names another (two GPUs, two files)."""
    return Path(os.environ.get("TEXTGAN_GPU_LOCK") or Path(tempfile.gettempdir()) / f"textgan-gpu-{os.getuid()}.lock")


def acquire(stopping: Callable[[], bool], say: Callable[[str], None]) -> int | None:
    """Wait for the lock; its descriptor, to hand to the guard, or None where the run is stopping.

    The guard inherits it and ends last, so that a flow killed by SIGKILL keeps the GPU until its training is gone.
    """
    descriptor = os.open(lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    told = False
    while not stopping():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if not told:
                say(f"waiting for the GPU ({lock_path()} is held)")
                told = True
            time.sleep(POLL_SECONDS)
    os.close(descriptor)
    return None
