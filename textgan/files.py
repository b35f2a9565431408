"""Files that are whole or absent: atomic writes, directory publication, hashes."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STATE = Path(".state")
"""Git-ignored place for what is unfinished, local or running; never a DVC out."""
_PUBLISHING, _FORMER = ".publishing-", ".former-"
"""In the name of a directory that is being filled, and of one whose place another takes at this moment."""


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in 1 MiB blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_json(value: Any) -> str:
    """Canonical JSON text: sorted keys, two spaces, UTF-8, a final newline; NaN is refused."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def fingerprint(value: Any) -> str:
    """16 hex digits that name a JSON value: the same value, the same name, on any machine."""
    return hashlib.sha256(to_json(value).encode()).hexdigest()[:16]


def write_bytes(path: Path, payload: bytes, mode: int = 0o644) -> None:
    """Write a file so that readers see the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write canonical JSON atomically."""
    write_bytes(path, to_json(value).encode())


def unfinished_dir(stage: str, identity: Any) -> Path:
    """Where a stage keeps unfinished work: `.state/unfinished/STAGE/<fingerprint of deps and params>/`.

    DVC deletes a stage's outs before it runs the stage; what must survive a kill lives here and
    is renamed into the out at the end. Another identity never finds this one's work.
    """
    path = STATE / "unfinished" / stage / fingerprint(identity)
    path.mkdir(parents=True, exist_ok=True)
    return path


def publish_dir(built: Path, out: Path) -> None:
    """Rename a finished directory to its place; what was there is removed when the new one stands."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_symlink() or not out.is_dir():
        out.unlink(missing_ok=True)
        os.replace(built, out)
        return
    former = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}{_FORMER}"))
    try:
        try:
            os.replace(out, former)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.rmtree(out)  # a directory of a container's image: overlayfs removes it and cannot rename it
        os.replace(built, out)
    except BaseException:
        if not out.exists() and any(former.iterdir()):
            os.replace(former, out)
        raise
    finally:
        if out.exists():
            shutil.rmtree(former, ignore_errors=True)


def discard_unpublished(out: Path) -> None:
    """Clear up what a killed `publishing` left beside `out`; the caller knows that no other process is at work."""
    name = glob.escape(out.name)
    for former in out.parent.glob(f".{name}{_FORMER}*"):
        if not out.exists() and any(former.iterdir()):
            os.replace(former, out)  # killed between the two renames of `publish_dir`
        else:
            shutil.rmtree(former)
    for left in out.parent.glob(f".{name}{_PUBLISHING}*"):
        shutil.rmtree(left)


@contextlib.contextmanager
def publishing(out: Path) -> Iterator[Path]:
    """A fresh directory that becomes `out` when the block ends well, and vanishes when it does not.

    A link to a directory stays one: the directory that it names is replaced.
    """
    out = out.resolve() if out.is_symlink() else out
    out.parent.mkdir(parents=True, exist_ok=True)
    built = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}{_PUBLISHING}"))
    try:
        yield built
        built.chmod(0o755)
        publish_dir(built, out)
    except BaseException:
        shutil.rmtree(built, ignore_errors=True)
        raise
