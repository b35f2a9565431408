"""One shard: a deterministic tar, written whole or not at all, with a record of what went in and what did not.

A shard is the unit of work: it is built by one process from a list of keys, its bytes depend on those keys,
the exports and the parameters alone, and it appears under its name with one rename.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.exports import open_export
from textgan.errors import UserError
from textgan.files import write_bytes, write_json
from textgan.params import ImagesParams

_BLOCK, _RECORD = 512, 10240
"""Tar's block and record sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What all shards of a build share."""

    exports: dict[str, Path]
    params: ImagesParams
    max_pixels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """One shard to build: `rows` are (sample key, export, LMDB key, bytes of the value)."""

    job: Job
    path: Path
    rows: list[tuple[str, str, bytes, int]]


@dataclass(slots=True)
class Outcome:
    """What became of the rows of a task, counted while the shard is written."""

    upscaled: int
    rejected: list[dict[str, str]]


def build_shard(task: ShardTask) -> int:
    """Build one shard and its record `<name>.json` beside it; returns the number of rows it accounts for."""
    outcome = Outcome(0, [])
    try:
        members, size, digest = write_tar(task.path, _members(task, outcome))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(f"{task.path}: {error.strerror}; what is finished is kept: make room, repeat") from None
        raise
    record = {"bytes": size, "sha256": digest, "members": members, "rows": rows_digest(task)}
    record |= {"read": len(task.rows), "upscaled": outcome.upscaled, "rejected": outcome.rejected}
    write_json(record_path(task.path), record)
    return len(task.rows)


def record_path(shard: Path) -> Path:
    """Where the record of a shard is, in a build's work directory."""
    return shard.with_suffix(".json")


def read_record(shard: Path) -> dict[str, Any] | None:
    """The record of a finished shard; None where the shard is unfinished."""
    try:
        record = json.loads(record_path(shard).read_text(encoding="utf-8"))
        return record if shard.stat().st_size == record["bytes"] else None
    except (FileNotFoundError, ValueError, KeyError):
        return None


def is_finished(task: ShardTask) -> bool:
    """Whether a shard was built before, from the same rows."""
    record = read_record(task.path)
    return record is not None and record.get("rows") == rows_digest(task)


def rows_digest(task: ShardTask) -> str:
    """sha256 of what a task is made from: a shard of other rows is never taken for this one."""
    digest = hashlib.sha256()
    for row in task.rows:
        digest.update(repr(row).encode())
    return digest.hexdigest()


def encoded_sizes(task: ShardTask) -> list[int]:
    """The encoded sizes of a task's images, without writing them: what shard sizes are planned by."""
    return [len(payload) for _, payload in _members(task, Outcome(0, []))]


def sign(task: ShardTask) -> int:
    """Write the signatures (SIGNED) of a task's decodable images to its path; returns the number of its rows."""
    from pipeline import imaging
    from pipeline.duplicates import SIGNED, signatures, thumbnail
    from pipeline.headers import UndecodableImage

    found = np.zeros(len(task.rows), SIGNED)
    count = 0
    for position, (_, export, lmdb_key, _) in enumerate(task.rows):
        try:
            pixels = imaging.decode(open_export(task.job.exports[export]).get(lmdb_key), task.job.max_pixels)
        except UndecodableImage:  # counted when its shard is built
            continue
        found[count] = position, signatures(thumbnail(pixels)[None])[0]
        count += 1
    write_bytes(task.path, found[:count].tobytes())
    return len(task.rows)


def _members(task: ShardTask, outcome: Outcome) -> Iterator[tuple[str, bytes]]:
    """(member name, encoded image) of each row that gives one; the others go to `outcome`."""
    from pipeline import imaging  # here, because torch is worth a second: the parent of a pool never needs it
    from pipeline.geometry import Misfit, place_on
    from pipeline.headers import UndecodableImage

    imaging.use_one_thread()
    params = task.job.params
    exports = {name: open_export(task.job.exports[name]) for name in sorted({row[1] for row in task.rows})}
    for key, export, lmdb_key, size in task.rows:
        value = exports[export].get(lmdb_key)
        if len(value) != size:
            raise UserError(
                f"{task.job.exports[export]}: the value of {lmdb_key!r} has {len(value)} bytes, {size} when it was "
                "ingested; the export changed, run ingest again"
            )
        try:
            pixels = imaging.decode(value, task.job.max_pixels)
        except UndecodableImage as error:
            outcome.rejected.append({"sample_key": key, "reason": error.reason, "detail": str(error)})
            continue
        height, width = pixels.shape[:2]
        placement = place_on(width, height, params.width, params.height, params.geometry, params.small)
        if isinstance(placement, Misfit):
            outcome.rejected.append({"sample_key": key, "reason": placement.reason, "detail": placement.detail})
            continue
        outcome.upscaled += placement.enlarges
        encoded = imaging.encode(imaging.place(pixels, placement), params.format, params.quality)
        yield f"{key}.{params.format}", encoded


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> tuple[list[list[Any]], int, str]:
    """Write a tar atomically; returns [member name, payload offset, payload size] of each, its bytes and sha256.

    Nothing in it varies between runs: no time, owner or host. Names above 100 characters get a pax header.
    """
    index: list[list[Any]] = []
    position, digest = 0, hashlib.sha256()
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb", buffering=1 << 20) as file:

            def put(block: bytes) -> None:
                nonlocal position
                file.write(block)
                digest.update(block)
                position += len(block)

            for name, payload in members:
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.mode = len(payload), 0, 0o444
                put(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"))
                index.append([name, position, len(payload)])
                put(payload)
                put(bytes(-len(payload) % _BLOCK))
            put(bytes(2 * _BLOCK))
            put(bytes(-position % _RECORD))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return index, position, digest.hexdigest()
