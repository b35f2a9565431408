"""What a DVC that was killed left half-written, put right before the next one starts.

DVC rewrites two files in place: dvc.lock, and `.dvc/tmp/rwlock` (which command reads or writes which path). A SIGKILL
in that millisecond leaves a part, and every later command refuses to go on. Both can be had again: the first from the
copy that is kept after each stage (a stage missing there comes back from DVC's run cache), the second by forgetting it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from flows.history import LOCK_FILE, parse_lock
from textgan.errors import UserError
from textgan.files import STATE, write_bytes

KEPT = STATE / "dvc.lock"
RWLOCK = Path(".dvc/tmp/rwlock")
GUARDS = (Path(".dvc/tmp/lock"), Path(".dvc/tmp/rwlock.lock"))
"""DVC holds the first while it writes dvc.lock, the second while it writes the rwlock (zc.lockfile: flock)."""


def keep(root: Path) -> None:
    """Keep a copy of dvc.lock, where it is whole; where it is not, another stage may be writing it right now."""
    with contextlib.suppress(FileNotFoundError):
        text = (root / LOCK_FILE).read_bytes()
        kept = root / KEPT
        if _is_lock(text) and not (kept.exists() and kept.read_bytes() == text):
            write_bytes(kept, text)


def mend(root: Path, say: Callable[[str], object]) -> None:
    """Take back a torn dvc.lock, forget a torn rwlock. Nothing is touched while a DVC that lives may be writing."""
    with _guarded(root) as alone:
        if not alone:
            return
        lock, rwlock = root / LOCK_FILE, root / RWLOCK
        kept = (root / KEPT).read_bytes() if (root / KEPT).exists() else b""
        if lock.exists() and _is_torn(lock.read_bytes(), kept, root):
            _take_back(root, kept, say)
        if rwlock.exists() and not _is_json(rwlock.read_bytes()):
            rwlock.unlink()
            say(f"{RWLOCK}: cut short when DVC was killed; removed, it names only commands that ran then")


@contextlib.contextmanager
def _guarded(root: Path) -> Iterator[bool]:
    """DVC's own file locks, all of them or (False) none."""
    with contextlib.ExitStack() as held:
        for guard in GUARDS:
            try:
                descriptor = os.open(root / guard, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:  # no .dvc/tmp: DVC has never run here
                continue
            held.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
        yield True


def _is_torn(text: bytes, kept: bytes, root: Path) -> bool:
    """Not a lock, or, cut between two lines, the beginning of the lock that was there and none that was committed."""
    return not _is_lock(text) or (text != kept and kept.startswith(text) and text != _committed(root))


def _committed(root: Path) -> bytes:
    shown = subprocess.run(["git", "show", f"HEAD:{LOCK_FILE}"], cwd=root, capture_output=True)
    return shown.stdout if shown.returncode == 0 else b""


def _take_back(root: Path, kept: bytes, say: Callable[[str], object]) -> None:
    """The kept copy, else the commit's; where there is neither, the run cache knows what has run."""
    for source, text in ((str(KEPT), kept), ("the commit", _committed(root))):
        if _is_lock(text):
            write_bytes(root / LOCK_FILE, text)
            say(f"{LOCK_FILE}: cut short when DVC was killed; taken back from {source}")
            return
    (root / LOCK_FILE).unlink()
    say(f"{LOCK_FILE}: cut short when DVC was killed; removed, the run cache knows what has run")


def _is_lock(text: bytes) -> bool:
    try:
        return text.endswith(b"\n") and bool(parse_lock(text.decode()))
    except (UserError, UnicodeDecodeError):
        return False


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
