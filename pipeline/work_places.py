"""Where a build publishes, and where it keeps what is unfinished: one build at a time, nothing of others touched."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.exports import data_file
from textgan.errors import UserError
from textgan.files import write_bytes
from textgan.manifest import BESIDE, read_images
from textgan.records import SPLITS

_KEPT = "published"
"""A file in a work directory that is kept after the publication; it holds the dataset's name."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def saying_where(out: Path) -> Iterator[None]:
    """What the machine refuses (no room, no permission, no such place) is one line that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        file = error.filename if isinstance(error.filename, str) else out  # pyarrow names none
        advice = "; what is finished is kept: make room, repeat" if error.errno in _NO_ROOM else ""
        raise UserError(f"{file}: {os.strerror(error.errno)}{advice}") from None


def place_of(text: str) -> Path:
    """The directory that OUT means: absolute, behind links. Raises UserError where a build cannot rename one there."""
    try:
        out = Path(text).resolve()
    except RuntimeError:  # so pathlib calls a loop of links
        raise UserError(f"{text}: a link that leads to itself") from None
    if not text or not out.name:
        raise UserError(f"OUT is {text!r}; it must be a directory that can be made or replaced")
    if os.path.ismount(out):
        raise UserError(f"{out}: a file system begins there, so it cannot be replaced; name a directory in it")
    return out


def refuse_foreign(out: Path) -> None:
    """Refuse to replace anything but an empty directory, or a build with nothing beside it. Raises UserError."""
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise UserError(f"{out}: exists and is no directory; name another place")
    entries = {entry.name: entry.is_dir(follow_symlinks=False) for entry in os.scandir(out)}
    if not entries:
        return
    try:
        manifest = read_images(out)
    except UserError as error:
        raise UserError(f"{out}: exists and holds no image shards ({error}); name another place or empty it") from None
    ours = BESIDE | {shard.name for split in SPLITS for shard in manifest.splits[split]}
    foreign = sorted(name for name, is_directory in entries.items() if is_directory or name not in ours)
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise UserError(f"{out}: holds {foreign[0]}{more}, which no build made; move that or name another place")


def refuse_overlap(export: Path, places: tuple[Path, ...]) -> None:
    """Refuse places, absolute, that hold the export or lie in it: a build replaces what is there. Raises UserError."""
    for source in {Path(os.path.realpath(export)), Path(os.path.realpath(data_file(export)))}:
        for place in places:
            if source == place or place in source.parents:
                raise UserError(f"{place}: the export {export} lies in it and would be replaced; name another place")
            if source in place.parents:
                raise UserError(f"{place}: lies in the export {export}; name a place outside it")


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
