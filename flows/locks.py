"""One run of a repository and one GPU training of a host at a time: file locks, freed by the kernel.

A lock's descriptor is handed to the guards of the commands that run under it. They end last, so that a flow killed
by SIGKILL keeps the lock until what it started is gone, and not a second longer.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from textgan.files import STATE

POLL_SECONDS = 0.5
RUN = STATE / "flow.lock"
"""Below a repository's root: held by the one run that works in it, whoever started it, and by all that it started."""


def gpu_path() -> Path:
    """The host's lock file for the GPU; TEXTGAN_GPU_LOCK names another (two GPUs, two files)."""
    return Path(os.environ.get("TEXTGAN_GPU_LOCK") or Path(tempfile.gettempdir()) / f"textgan-gpu-{os.getuid()}.lock")


def acquire(path: Path, what: str, check: Callable[[], None], say: Callable[[str], object]) -> int:
    """Wait for the lock; its descriptor. `check` is called while it waits, and raises where the run is stopped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    told = False
    try:
        while True:
            check()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if not told:
                    say(f"waiting for {what}: {path} is held")
                    told = True
                time.sleep(POLL_SECONDS)
    except BaseException:
        os.close(descriptor)
        raise
