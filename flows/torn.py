"""What a DVC that was killed left half-written, put right before the next one starts.

DVC rewrites two files in place: dvc.lock, and `.dvc/tmp/rwlock` (which command reads or writes which path). A SIGKILL
in that millisecond leaves a part, and every later command refuses to go on. Both can be had again: the first from the
copy that is kept between stages (a stage missing there comes back from DVC's run cache), the second by forgetting it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from flows.history import LOCK_FILE, committed_text, load_yaml
from textgan.files import STATE, write_bytes

KEPT, TORN = STATE / "dvc.lock", STATE / "dvc.lock.torn"
RWLOCK = Path(".dvc/tmp/rwlock")
GUARDS = (Path(".dvc/tmp/lock"), Path(".dvc/tmp/rwlock.lock"))
"""DVC holds the first while it writes dvc.lock, the second while it writes the rwlock (zc.lockfile: flock)."""


def keep(root: Path) -> None:
    """Keep a copy of dvc.lock, where it is whole and no DVC may be writing it."""
    with _guarded(root) as alone:
        if alone and (root / LOCK_FILE).exists():
            text, kept = (root / LOCK_FILE).read_bytes(), root / KEPT
            if _is_lock(text) and not (kept.exists() and kept.read_bytes() == text):
                write_bytes(kept, text)


def mend(root: Path, say: Callable[[str], object]) -> None:
    """Take back a torn dvc.lock, forget a torn rwlock. Nothing is touched while a DVC that lives may be writing.

    A cut between two entries leaves a lock, only a shorter one: what it lacks comes from the run cache. A lock with
    the marks of a merge is left to who merges.
    """
    with _guarded(root) as alone:
        if not alone:
            return
        lock, rwlock = root / LOCK_FILE, root / RWLOCK
        if lock.exists() and not _is_lock(text := lock.read_bytes()) and b"<<<<<<<" not in text:
            write_bytes(root / TORN, text)
            _take_back(root, say)
        if rwlock.exists() and not _is_json(rwlock.read_bytes()):
            rwlock.unlink()
            say(f"{RWLOCK}: cut short when DVC was killed; removed")


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


def _take_back(root: Path, say: Callable[[str], object]) -> None:
    """The kept copy, else the commit's; where there is neither, the run cache knows what has run."""
    kept = (root / KEPT).read_bytes() if (root / KEPT).exists() else b""
    what = f"{LOCK_FILE}: no whole lock, as when DVC is killed while it writes ({TORN} has what was there)"
    for source, text in ((str(KEPT), kept), ("the commit", committed_text(root))):
        if _is_lock(text):
            write_bytes(root / LOCK_FILE, text)
            say(f"{what}; taken back from {source}")
            return
    (root / LOCK_FILE).unlink()
    say(f"{what}; removed, the run cache knows what has run")


def _is_lock(text: bytes) -> bool:
    """Whole: it ends with a line, and every entry has the hash and the size that DVC writes last of what it must."""
    try:
        value = load_yaml(text)
        entries = [
            item for stage in value["stages"].values() for kind in ("deps", "outs") for item in stage.get(kind, [])
        ]
        params = [key for stage in value["stages"].values() for key in stage.get("params", {}).values()]
        whole = all(item.keys() >= {"path", "md5", "size"} for item in entries) and None not in params
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        return False
    return text.endswith(b"\n") and whole


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
