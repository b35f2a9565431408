"""Progress on every long step: a bar on a terminal, sparse lines elsewhere, with rate and time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

try:
    from tqdm import tqdm
except ModuleNotFoundError:  # a bare GPU machine has none: lines do
    tqdm = None  # type: ignore[assignment,misc]

T = TypeVar("T")
LINE_SECONDS = 10.0
"""Where there is no terminal, one line at most this often."""


class Progress:
    """Counts towards a total; `update(n)` as work is done, `close()` prints the last line."""

    def __init__(self, total: int, what: str, unit: str = "images") -> None:
        self.total, self.what, self.unit = total, what, unit
        self.done = self.skipped = 0
        self.start = self.last_line = time.monotonic()
        shown = tqdm is not None and sys.stderr.isatty()
        self.bar = tqdm(total=total, desc=what, unit=f" {unit}", dynamic_ncols=True) if shown else None

    def update(self, n: int = 1, note: str = "") -> None:
        """Count `n` more; `note` is shown behind the rate."""
        self.done += n
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note)
            self.bar.update(n)
        elif time.monotonic() - self.last_line >= LINE_SECONDS:
            self.last_line = time.monotonic()
            self._line(note)

    def skip(self, n: int) -> None:
        """Start at `n`, done before this run: the rate counts only what comes after."""
        self.done = self.skipped = n
        if self.bar is not None:
            self.bar.initial = n
            self.bar.update(n)

    def close(self, note: str = "") -> None:
        """End the bar, or print a closing line."""
        if self.bar is not None:
            self.bar.close()
        else:
            self._line(note)

    def _line(self, note: str) -> None:
        seconds = max(time.monotonic() - self.start, 1e-9)
        rate = (self.done - self.skipped) / seconds
        left = (self.total - self.done) / rate if rate else float("inf")
        when = f"{left:.0f} s left" if self.done < self.total else f"{seconds:.0f} s"
        text = f"{self.what}: {self.done}/{self.total} {self.unit}, {rate:.1f}/s, {when}"
        print(f"{text}, {note}" if note else text, file=sys.stderr, flush=True)


def track(items: Iterable[T], total: int, what: str, unit: str = "images") -> Iterator[T]:
    """Yield items and count them."""
    progress = Progress(total, what, unit)
    for item in items:
        yield item
        progress.update()
    progress.close()
