"""An image tree on this machine as one LMDB, which the stages and DVC know. Usage: python -m pipeline.tree TREE OUT

OUT gets data.mdb, whose bytes depend on the images and their names alone (those of the same tree in S3), and links to
the tree's annotations. A tree that has not changed is not packed again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import lmdb

from pipeline.annotation_files import NAMES as ANNOTATIONS
from pipeline.exports import TreeExport, open_export
from pipeline.s3_tree import map_size, write_in_order
from textgan.errors import UserError, program
from textgan.files import write_bytes
from textgan.progress import track


def pack(tree: Path, out: Path) -> None:
    """Bring `out` to what the tree is. Raises UserError: no tree, an unreadable image, no room."""
    export = open_export(tree)
    if not isinstance(export, TreeExport):
        raise UserError(f"{tree}: an LMDB export, not an image tree; it needs no packing")
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits, and then finds all of it
        sizes = list(_sizes(export))
        digest = hashlib.sha256(repr(sizes).encode()).digest()
        data, record = out / "data.mdb", out / "data.mdb.tree"
        if not (data.exists() and record.exists() and record.read_bytes() == digest):
            _write(export, sum(size for _, size, _ in sizes), data)
            write_bytes(record, digest)
        for name in ANNOTATIONS:
            (out / name).unlink(missing_ok=True)
            if (tree / name).exists():
                (out / name).symlink_to((tree / name).resolve())


def _sizes(export: TreeExport) -> Iterator[tuple[bytes, int, int]]:
    """(key, bytes, time of change) of each image; a dangling link has none."""
    for key in sorted(export.files):
        try:
            status = os.stat(export.files[key])
        except OSError:
            yield key, 0, 0
        else:
            yield key, status.st_size, status.st_mtime_ns


def _write(export: TreeExport, size: int, data: Path) -> None:
    part = data.with_name(f"{data.name}.part")
    part.unlink(missing_ok=True)
    room = map_size(len(export), size)
    if size > shutil.disk_usage(data.parent).free:
        raise UserError(f"{part}: {export.path} needs about {size} bytes for its LMDB; the disk has less")
    try:
        write_in_order(part, track(export.items(), len(export), "pack tree"), room)
    except lmdb.Error as error:
        part.unlink(missing_ok=True)
        raise UserError(f"{part}: {error}; make room, or let the tree rest while it is packed, and repeat") from None
    os.replace(part, data)


def main() -> None:
    """Pack one tree."""
    if len(sys.argv) != 3:
        raise UserError("usage: python -m pipeline.tree TREE OUT")
    pack(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    program(main)
