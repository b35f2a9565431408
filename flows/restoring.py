"""What outs are made of, from the storage into DVC's cache: many objects at once, each hashed while it comes in.

`dvc pull` behind it finds the files there and links them. By itself it reads all objects in one thread and hashes them
one after the other when the last one has come. What is missing, damaged or cut off is left out here: `dvc pull` asks
for it again and says what is wrong, so that nothing is decided twice.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from flows import dvc_program, history
from flows.remote import Remote, client
from textgan.errors import UserError

HASH = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
BLOCK = 1 << 20
THREADS = 8
MODE = 0o444
"""Of a file in DVC's cache. DVC takes one that nobody may write for verified, so it gets its name with this mode."""


def pull(remote: Remote, targets: list[str]) -> dvc_program.Run:
    """`dvc pull` of stages or outs of the present dvc.lock, all without targets, with the objects brought before."""
    lock = history.present_lock()
    outs = [(name, out) for name, stage in lock.items() for out in stage.outs]
    chosen = {out.md5 for name, out in outs if not targets or {name, name.partition("@")[0], out.path} & set(targets)}
    restore(remote, chosen, history.cache_dir())
    return dvc_program.run("pull", *targets, say=print, merge_errors=True)


def restore(remote: Remote, hashes: Iterable[str], cache: Path) -> int:
    """Bring the objects of these hashes, and the files of the directories among them; how many have come."""
    s3 = client(remote)

    def bring(md5: str) -> bool:
        return _bring(s3, remote, md5, history.cached(md5, cache))

    asked = set(filter(HASH.fullmatch, hashes))
    with ThreadPoolExecutor(THREADS) as pool:
        come = sum(pool.map(bring, sorted(asked)))
        files = {md5 for name in asked if name.endswith(history.DIRECTORY) for md5 in _listed(name, cache)}
        return come + sum(pool.map(bring, sorted(files - asked)))


def _listed(md5: str, cache: Path) -> list[str]:
    """Hashes of the files of a directory; none where its listing is not there or is damaged."""
    try:
        files = history.listing(history.cached(md5, cache).read_bytes(), md5)
        return [name for name in files.values() if HASH.fullmatch(name)]
    except (OSError, UserError, ValueError, TypeError, KeyError):
        return []


def _bring(s3: Any, remote: Remote, md5: str, place: Path) -> bool:
    """One object into its place; False where it is there already, or cannot be had with these bytes."""
    from botocore.exceptions import BotoCoreError, ClientError

    if place.exists():
        return False
    digest = hashlib.md5(usedforsecurity=False)
    part = place.with_name(f"{place.name}.{secrets.token_hex(4)}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        reply = s3.get_object(Bucket=remote.bucket, Key=f"{remote.prefix}/files/md5/{md5[:2]}/{md5[2:]}")
        with open(part, "wb") as file:
            for block in reply["Body"].iter_chunks(BLOCK):
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
