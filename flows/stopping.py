"""Ending a flow run: every guarded command is told, and no further stage starts."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from types import FrameType


class Stopped(RuntimeError):
    """The run was cancelled; nobody tries again."""


class Stop:
    """A flag and the commands to end when it is set."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._processes: list[subprocess.Popen[str]] = []

    def is_set(self) -> bool:
        """Whether the run is ending."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise where the run is ending: a task that waited for its slot must not start."""
        if self._event.is_set():
            raise Stopped("the run was cancelled")

    def watch(self, process: subprocess.Popen[str]) -> None:
        """End this guarded command too when the run is stopped, also when that has just happened."""
        self._processes.append(process)
        if self._event.is_set():
            process.terminate()

    def set(self) -> None:
        """End all commands; the guards take their descendants with them."""
        self._event.set()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    def on_signals(self) -> None:
        """Stop on SIGTERM and SIGINT, then do what would have been done (Prefect marks the run cancelled)."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)

            def handle(received: int, frame: FrameType | None, before: object = before) -> None:
                self.set()
                if callable(before):
                    before(received, frame)
                else:
                    raise SystemExit(128 + received)

            signal.signal(number, handle)
