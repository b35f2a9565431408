"""What outs are made of, from the storage into DVC's cache: many objects at once, each hashed while it comes in.

`dvc pull` behind it finds the files there and links them. By itself it reads all objects in one thread and hashes them
one after the other when the last one has come. What is missing, damaged or cut off is left out here: `dvc pull` asks
for it again and says what is wrong, so that nothing is decided twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from flows import dvc_program, graph, history
from flows.remote import Remote, client
from textgan.errors import UserError

HASH = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
BLOCK = 1 << 20
THREADS = 8
PARTS = "textgan-parts"
"""Below DVC's cache, beside the places of its files: what is not whole never lies where a file of the cache may."""
Check = Callable[[], None]
MODE = 0o444
"""Of a file in DVC's cache. DVC takes one that nobody may write for verified, so it gets its name with this mode."""


def pull(
    remote: Remote, targets: list[str], root: Path = Path(), check: Check = lambda: None, **settings: Any
) -> dvc_program.Run:
    """`dvc pull` of stages or outs of the dvc.lock at `root`, all without targets, with the objects brought before.

    `settings` are those of dvc_program.run; what `check` raises ends the transfer between two blocks.
    """
    lock = history.present_lock(root)
    outs = [(name, out) for name, stage in lock.items() for out in stage.outs]
    chosen = {out.md5 for name, out in outs if not targets or {name, name.partition("@")[0], out.path} & set(targets)}
    restore(remote, chosen, history.cache_dir(root), check)
    return dvc_program.run("pull", *targets, cwd=root, merge_errors=True, **settings)


def bring_for_repro(remote: Remote, targets: list[str], force: bool) -> int:
    """What `dvc repro --pull` takes from the storage, brought before: outs of stages that need not run; how many came.

    Nothing where all are cached, or where DVC cannot read its graph: it says so itself.
    """
    lock, cache = history.present_lock() if history.LOCK_FILE.exists() else {}, history.cache_dir()
    if all(history.cached(out.md5, cache).exists() for stage in lock.values() for out in stage.outs):
        return 0
    try:
        found = graph.read(Path(), pools=frozenset())  # as if all ran elsewhere: what is only missing is not stale
        chosen = [name for name in found.stages if {name, name.partition("@")[0]} & set(targets)]
        if chosen:
            found = graph.read(Path(), chosen, frozenset())
    except UserError:
        return 0
    unchanged = found.stages.keys() - set(found.to_run(force))
    return restore(remote, [out.md5 for name in unchanged & lock.keys() for out in lock[name].outs], cache)


def restore(remote: Remote, hashes: Iterable[str], cache: Path, check: Check = lambda: None) -> int:
    """Bring the objects of these hashes, and the files of the directories among them; how many have come."""
    s3 = client(remote)
    asked = set(filter(HASH.fullmatch, hashes))
    try:
        with _place_for_parts(cache) as parts, ThreadPoolExecutor(THREADS) as pool:

            def bring(md5: str) -> bool:
                return _bring(s3, remote, md5, history.cached(md5, cache), parts, check)

            come = sum(pool.map(bring, sorted(asked)))
            files = {md5 for name in asked if name.endswith(history.DIRECTORY) for md5 in _listed(name, cache)}
            return come + sum(pool.map(bring, sorted(files - asked)))
    except OSError:  # a cache that nothing can be written to: `dvc pull` says so
        return 0


@contextlib.contextmanager
def _place_for_parts(cache: Path) -> Iterator[Path]:
    """A directory of this process on the cache's file system; those of processes that were killed are removed.

    Each is locked by who made it, as long as it lives.
    """
    place = cache / PARTS
    place.mkdir(parents=True, exist_ok=True)
    with _locked(place, wait=True):
        for left in place.iterdir():
            with contextlib.suppress(BlockingIOError), _locked(left, wait=False):
                shutil.rmtree(left, ignore_errors=True)
        own = Path(tempfile.mkdtemp(dir=place))
        held = contextlib.ExitStack()
        held.enter_context(_locked(own, wait=False))
    with held:
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)


@contextlib.contextmanager
def _locked(directory: Path, wait: bool) -> Iterator[None]:
    """Raises BlockingIOError where another process has it and we do not wait."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def _listed(md5: str, cache: Path) -> list[str]:
    """Hashes of the files of a directory; none where its listing is not there or is damaged."""
    try:
        files = history.listing(history.cached(md5, cache).read_bytes(), md5)
        return [name for name in files.values() if HASH.fullmatch(name)]
    except (OSError, UserError, ValueError, TypeError, KeyError):
        return []


def _bring(s3: Any, remote: Remote, md5: str, place: Path, parts: Path, check: Check) -> bool:
    """One object into its place, by way of `parts`; False where it is there, or cannot be had with these bytes."""
    from botocore.exceptions import BotoCoreError, ClientError

    if place.exists():
        return False
    digest = hashlib.md5(usedforsecurity=False)
    part = parts / f"{md5}.{secrets.token_hex(4)}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        reply = s3.get_object(Bucket=remote.bucket, Key=f"{remote.prefix}/{history.key_of(md5)}")
        with open(part, "wb") as file:
            for block in reply["Body"].iter_chunks(BLOCK):
                check()
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != md5.removesuffix(history.DIRECTORY):
            return False
        part.chmod(MODE)
        os.replace(part, place)
        return True
    except (BotoCoreError, ClientError, OSError):
        return False
    finally:
        part.unlink(missing_ok=True)
