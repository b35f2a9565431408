"""LSUN exports: LMDB directories, single `data.mdb` files and exported image trees, read and never written.

An export is opened read-only and without a lock file, so read-only media, missing `lock.mdb` files and
files larger than memory are fine. A handle belongs to the process that opened it, and to all its
threads: `open_export` opens again after a fork.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import lmdb

from pipeline import lmdb_tree
from textgan.errors import UserError

_MAGIC = 0xBEEFC0DE
_META = struct.Struct("<II QQ 48s 48s QQ")
"""lmdb.h / mdb.c `MDB_meta`: magic, version, address, map size, two databases, last page, transaction."""
_META_OFFSET = 16
"""`MDB_meta` stands behind the page header."""
IMAGE_SUFFIXES = frozenset(
    {".webp", ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff"}
    | {".avif", ".heic", ".heif", ".jp2", ".jxl"}
)
"""Names of images in a tree. Those of the second line are not read: they are entries all the same, and rejected."""


class Export(Protocol):
    """Values by key; keys come sorted by their bytes."""

    def __len__(self) -> int: ...

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value) pairs in key order."""
        ...

    def get(self, key: bytes) -> bytes:
        """The value of one key. Raises UserError if the export no longer has it."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class LmdbExport:
    """An LMDB export by its data file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = check_data_file(path)
        try:
            self.environment = lmdb.open(
                os.path.realpath(path), subdir=False, readonly=True, create=False, lock=False, readahead=True
            )
            self.length = int(self.environment.stat()["entries"])
        except lmdb.Error as error:
            raise UserError(f"{path}: LMDB cannot read it: {error}") from None

    def __len__(self) -> int:
        return self.length

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        if self.tree.flags:  # duplicate, reversed or integer keys: no LSUN export, read by LMDB itself
            with self.environment.begin() as transaction, transaction.cursor() as cursor:
                yield from cursor.iternext(keys=True, values=True)
            return
        try:
            with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                yield from lmdb_tree.entries(view, self.tree)
        except lmdb_tree.DamagedTree as damage:
            raise UserError(f"{self.path}: the LMDB is damaged: {damage}; bring the file again") from None

    def get(self, key: bytes) -> bytes:
        try:
            with self.environment.begin() as transaction:
                value = transaction.get(key)
        except lmdb.Error as error:
            raise UserError(f"{self.path}: the LMDB is damaged: {error}; bring the file again") from None
        if value is None:
            raise UserError(f"{self.path}: the key {key!r} of the inventory is not in it; run ingest again")
        return value

    def close(self) -> None:
        self.environment.close()


class TreeExport:
    """A directory tree of image files (`fyu/lsun` export layout: a/b/c/d/e/f/KEY.webp); a key is a file's stem."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[bytes, str] = {}
        for file in _image_files(path):
            key = os.fsencode(os.path.splitext(os.path.basename(file))[0])
            if self.files.setdefault(key, file) != file:
                raise UserError(f"{file}: {self.files[key]} has the same name; a key names one image of an export")

    def __len__(self) -> int:
        return len(self.files)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(self.files):
            yield key, self.get(key)

    def get(self, key: bytes) -> bytes:
        if key not in self.files:
            raise UserError(f"{self.path}: the key {key!r} of the inventory is not in it; run ingest again")
        file = self.files[key]
        try:
            return Path(file).read_bytes()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP) and os.path.islink(file):
                return b""  # an entry that has no image: rejected, never lost
            raise UserError(f"{file}: cannot be read: {error.strerror}") from None

    def close(self) -> None:
        self.files = {}


def _image_files(root: Path) -> Iterator[str]:
    """The image files below `root`, links followed; each directory is read once, so links may go in circles.

    Raises UserError where a directory, or a link that may have been one, leads nowhere: its images would be lost.
    """
    read: set[tuple[int, int]] = set()
    left = [str(root)]
    while left:
        directory = left.pop()
        status = os.stat(directory)
        if (status.st_dev, status.st_ino) in read:
            continue
        read.add((status.st_dev, status.st_ino))
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                suffix = os.path.splitext(entry.name)[1].lower()
                if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                    left.append(entry.path)
                elif suffix in IMAGE_SUFFIXES:
                    if not entry.is_symlink() and not entry.is_file():
                        raise UserError(f"{entry.path}: is no file and has the name of an image")
                    yield entry.path
                elif not suffix and entry.is_symlink() and not os.path.exists(entry.path):
                    raise UserError(f"{entry.path}: a link to {os.readlink(entry.path)}, which does not exist")


def data_file(path: Path) -> Path:
    """The data file of an LMDB export given by its directory or by the file itself."""
    return path / "data.mdb" if path.is_dir() else path


_opened: dict[str, tuple[tuple[int, int, int], Export]] = {}
"""Exports by real path, with the process, inode and modification time for which the handle is good."""


_opening = threading.Lock()
"""One thread opens at a time: LMDB refuses a file that its process has open, and a tree need not be walked twice."""


def _forget_lock() -> None:
    """In a fork: a thread that held the lock is not there to let go of it."""
    global _opening
    _opening = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)


def open_export(path: Path) -> Export:
    """Open an export once per process, from any thread. Raises UserError: missing, empty, no LMDB, truncated."""
    try:
        with _opening:
            return _open_export(path)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read: {error.strerror}") from None


def _open_export(path: Path) -> Export:
    if not path.exists():
        raise UserError(f"{path}: no such export; it must be an LMDB directory with data.mdb, or an image tree")
    file = data_file(path)
    if os.path.lexists(file) and not file.exists():
        raise UserError(f"{file}: a link to {os.readlink(file)}, which does not exist")
    is_tree = path.is_dir() and not file.exists()
    place = os.path.realpath(path if is_tree else file)
    status = os.stat(place)
    stamp = (os.getpid(), status.st_ino, status.st_mtime_ns)  # a fork or a new file needs a new handle
    if place in _opened:
        known, export = _opened[place]
        if known == stamp:
            return export
        del _opened[place]
        if known[0] == stamp[0]:
            export.close()
    export = TreeExport(path) if is_tree else LmdbExport(file)
    if not len(export):
        what = "no LMDB (it has no data.mdb) and no image tree (it has no image files)"
        raise UserError(
            f"{path}: {what}" if is_tree else f"{file}: the LMDB is empty; an export has at least one image"
        )
    _opened[place] = stamp, export
    return export


def check_data_file(path: Path) -> lmdb_tree.Tree:
    """The tree of a data file. Refuses what LMDB would crash on: a mapped page beyond its end is a SIGBUS."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(_META_OFFSET + _META.size)
            first = _meta(head)
            if first is None:
                found = "it is an empty file" if not head else "its magic number is missing"
                raise UserError(f"{path}: no LMDB data file: {found}")
            page_size = first[0]
            file.seek(page_size)
            second = _meta(file.read(_META_OFFSET + _META.size))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    _, _, last_page, tree = max((meta for meta in (first, second) if meta is not None), key=lambda meta: meta[1])
    needed = (last_page + 1) * page_size
    if second is None or size < needed:
        raise UserError(f"{path}: truncated: it has {size} bytes and its LMDB header promises at least {needed}")
    return tree


def _meta(page: bytes) -> tuple[int, int, int, lmdb_tree.Tree] | None:
    """(page size, transaction, last page, main tree) of a meta page; None where it is none."""
    if len(page) < _META_OFFSET + _META.size:
        return None
    magic, _, _, _, free_db, main_db, last_page, transaction = _META.unpack_from(page, _META_OFFSET)
    page_size = int.from_bytes(free_db[:4], "little")
    if magic != _MAGIC or not 256 <= page_size <= 65536:
        return None
    return page_size, transaction, last_page, lmdb_tree.parse(page_size, main_db)
