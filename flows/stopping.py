"""Ending a flow run: every guarded command is told, and no further stage starts."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from textgan.errors import UserError

T = TypeVar("T")
TRANSFER_PAUSES = (2.0, 10.0, 60.0)
"""Seconds before a transfer is tried again: the network's failures are nobody's fault, and pass."""


class Stopped(RuntimeError):
    """The run was cancelled; nobody tries again."""


class Stop:
    """A flag and the commands to end when it is set."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._processes: list[subprocess.Popen[str]] = []

    def check(self) -> None:
        """Raise where the run is ending: a task that waited for its slot must not start."""
        if self._event.is_set():
            raise Stopped("the run was cancelled")

    def wait(self, seconds: float) -> None:
        """Sleep; raise at once where the run is ending."""
        self._event.wait(seconds)
        self.check()

    def retried(self, act: Callable[[], T], pauses: Iterable[float], say: Callable[[str], object]) -> T:
        """Call `act`; where it fails, again after each pause. The last failure is the caller's; a stopped run ends.

        Prefect's own retries sleep where nobody can wake them: a cancelled run would outlive its cancellation.
        """
        for pause in pauses:
            try:
                return act()
            except (UserError, RuntimeError, OSError) as error:
                self.check()
                say(f"{error}; again in {pause:g} s")
                self.wait(pause)
        return act()

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

    @contextlib.contextmanager
    def when_cancelled(self) -> Iterator[None]:
        """Stop where SIGTERM or Ctrl-C leaves the block.

        Prefect turns SIGTERM into an exception of the main thread. A signal handler of our own in its place would make
        it take every cancellation for a crash: it confirms one only while its own handler stands.
        """
        try:
            yield
        except Exception:
            raise
        except BaseException:
            self.set()
            raise
