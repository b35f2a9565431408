"""Exported image trees in S3 (`fyu/lsun` layout, a/b/c/d/e/f/KEY.webp): packed into one LMDB, in key order.

A million small files would be slow to walk and to hash; an LMDB is what the other stages and DVC know. Values
arrive in parallel and are appended in the order of their keys, so what a killed command left is a beginning
of the whole, and the next one goes on behind its last key. The bytes of the file depend on the tree alone.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

from pipeline import s3
from pipeline.exports import IMAGE_SUFFIXES
from textgan.errors import UserError
from textgan.files import write_bytes
from textgan.progress import Progress

THREADS, AHEAD = 10, 64
"""Objects asked for at a time (as many as botocore keeps connections), and those that may wait in memory."""
COMMIT = 256
"""Values that a killed command loses at most."""
LONGEST_KEY = 511


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """One image object; `key` is its stem, its key in the export."""

    key: bytes
    object: str
    bytes: int
    etag: str


def bring_tree(client: Any, bucket: str, prefix: str, out: Path) -> bool:
    """Pack the image objects below `prefix` into the LMDB file `out`; False where there are none. Raises UserError."""
    where = f"{s3.SCHEME}{bucket}/{prefix}"
    items = list_images(client, bucket, prefix)
    if not items:
        return False
    part, record = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.tree")
    digest = hashlib.sha256(repr([(i.key, i.object, i.bytes, i.etag) for i in items]).encode()).digest()
    known = record.read_bytes() if record.exists() else b""
    if known != digest:
        if known:
            print(f"s3: {where} holds other images than before: from the beginning", flush=True)
        for path in (out, part):
            path.unlink(missing_ok=True)
        write_bytes(record, digest)
    if out.exists():
        return True
    size = map_size(len(items), sum(item.bytes for item in items))
    room = size - map_size(0, 0)
    if 2 * room > shutil.disk_usage(out.parent).free + (part.stat().st_size if part.exists() else 0):
        raise UserError(f"{part}: {where} needs about {2 * room} bytes for its LMDB and a copy; the disk has less")
    copy = out.with_name(f"{out.name}.copy")
    copy.unlink(missing_ok=True)
    try:
        with lmdb.open(str(part), subdir=False, lock=False, map_size=size) as environment:
            _append(client, bucket, items, environment)
            _write_anew(environment, copy)
    except lmdb.Error as error:
        raise UserError(f"{part}: {error}; what has arrived is kept: make room, repeat") from None
    os.replace(copy, out)
    part.unlink()
    print(f"s3: {where}: {len(items)} images, {sum(item.bytes for item in items)} bytes", flush=True)
    return True


def list_images(client: Any, bucket: str, prefix: str) -> list[Item]:
    """The image objects in key order; none where the server does not list them (asking for data.mdb says why)."""
    from botocore.exceptions import BotoCoreError, ClientError

    found: dict[bytes, Item] = {}
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                stem, suffix = os.path.splitext(entry["Key"].rsplit("/", 1)[1])
                if suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                item = Item(stem.encode(), entry["Key"], int(entry["Size"]), entry["ETag"])
                name = f"{s3.SCHEME}{bucket}/{item.object}"
                if len(item.key) > LONGEST_KEY:
                    raise UserError(f"{name}: a name has at most {LONGEST_KEY} bytes")
                if found.setdefault(item.key, item) is not item:
                    raise UserError(f"{name}: {found[item.key].object} has the same name; a key names one image")
    except ClientError:
        return []
    except BotoCoreError as error:
        raise UserError(f"{s3.SCHEME}{bucket}/{prefix}: the connection broke: {type(error).__name__}; repeat") from None
    return sorted(found.values())


def _append(client: Any, bucket: str, items: list[Item], environment: lmdb.Environment) -> None:
    """Fetch what comes behind the last key, and append it."""
    with environment.begin() as transaction, transaction.cursor() as cursor:
        last = cursor.key() if cursor.last() else None
    left = [item for item in items if last is None or item.key > last]
    progress = Progress(len(items), "s3 tree")
    progress.skip(len(items) - len(left))
    values = _fetched(client, bucket, left)
    while block := list(itertools.islice(values, COMMIT)):
        with environment.begin(write=True) as transaction:
            for item, value in block:
                transaction.put(item.key, value, append=True)
        progress.update(len(block))
    progress.close()


def _write_anew(environment: lmdb.Environment, out: Path) -> None:
    """The same entries by the same steps from the first one: the bytes no longer say where a command was killed."""
    with environment.begin() as transaction, transaction.cursor() as cursor:
        write_in_order(out, cursor.iternext(keys=True, values=True), int(environment.info()["map_size"]))


def map_size(count: int, size: int) -> int:
    """Room for an LMDB of `count` values of `size` bytes in all; it stands in the file."""
    return size + count * 8192 + (64 << 20)


def write_in_order(out: Path, entries: Iterator[tuple[bytes, bytes]], size: int) -> None:
    """An LMDB file of map size `size` from entries in key order; its bytes depend on them alone."""
    with lmdb.open(str(out), subdir=False, lock=False, map_size=size, sync=False) as target:
        while block := list(itertools.islice(entries, COMMIT)):
            with target.begin(write=True) as writing:
                for key, value in block:
                    writing.put(key, value, append=True)
        target.sync(True)


def _fetched(client: Any, bucket: str, items: list[Item]) -> Iterator[tuple[Item, bytes]]:
    """Each item with its value, in order; some are asked for ahead."""
    threads = ThreadPoolExecutor(THREADS, "s3")
    waiting, coming = iter(items), collections.deque[tuple[Item, Future[bytes]]]()
    try:
        while True:
            for item in itertools.islice(waiting, AHEAD - len(coming)):
                coming.append((item, threads.submit(_value, client, bucket, item)))
            if not coming:
                return
            item, future = coming.popleft()
            yield item, future.result()
    finally:
        threads.shutdown(cancel_futures=True)


def _value(client: Any, bucket: str, item: Item) -> bytes:
    """One object, whole and the one that was listed. Raises UserError after fruitless attempts."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    name = f"{s3.SCHEME}{bucket}/{item.object}"
    for wait in (*s3.BACK_OFF_SECONDS, None):
        try:
            reply = client.get_object(Bucket=bucket, Key=item.object, IfMatch=item.etag)
            value = reply["Body"].read()
            if len(value) == item.bytes and s3.md5_of(reply) in ("", f"md5:{_md5(value)}"):
                return value
            problem = f"{len(value)} of {item.bytes} bytes arrived, or others"
        except ClientError as error:
            if s3.code_of(error) not in s3.PASSING:
                reason = f"the server answers {s3.code_of(error)}; it may have changed while the tree was read: repeat"
                raise UserError(f"{name}: {reason}") from None
            problem = f"the server answers {s3.code_of(error)}"
        except (BotoCoreError, HTTPError, OSError) as error:
            problem = f"the connection broke: {type(error).__name__}"
        if wait is not None:
            time.sleep(wait)
    raise UserError(f"{name}: {problem}; the same command goes on from there")


def _md5(value: bytes) -> str:
    return hashlib.md5(value, usedforsecurity=False).hexdigest()
