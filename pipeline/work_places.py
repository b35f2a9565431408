"""Where a build keeps what is unfinished: one build at a time, and what stays after the publication."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from textgan.errors import UserError
from textgan.files import write_bytes

_KEPT = "published"
"""A file in a work directory that is kept after the publication; it holds the dataset's name."""


@contextlib.contextmanager
def locked(work: Path) -> Iterator[None]:
    """Hold a work directory; a second build in it is refused, and a killed one lets go."""
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{work}: another build is at work there; wait for it or stop it") from None
        yield


def keep(work: Path, dataset: str) -> None:
    """Mark a work directory as one whose result is published and that stays until `discard_former`."""
    write_bytes(work / _KEPT, dataset.encode())


def discard(work: Path) -> None:
    """Remove a work directory whose result is published."""
    shutil.rmtree(work, ignore_errors=True)


def discard_former(work: Path, dataset: str) -> None:
    """Remove the kept work directories of the dataset's other builds."""
    for mark in work.parent.glob(f"*/{_KEPT}"):
        if mark.parent != work and mark.read_text(encoding="utf-8") == dataset:
            with contextlib.suppress(UserError), locked(mark.parent):  # one that is at work again stays
                discard(mark.parent)
