"""The entries of an LMDB in key order, each page checked before it is believed.

LMDB trusts its file: on a damaged page it aborts the process (an assertion), reads beyond the map (SIGBUS) or ends
early. This walks the same pages (mdb.c 0.9: `MDB_page`, `MDB_node`) and raises DamagedTree instead. It reads no more
than LMDB does.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_PAGE = struct.Struct("<QHHHH")
"""Page number, padding, flags, then lower and upper bound of the free space."""
_NODE = struct.Struct("<HHHH")
"""Low and high half of the size (or of a child's page number), flags, key size."""
_BRANCH, _LEAF, _OVERFLOW, _KINDS = 1, 2, 4, 0x67
_BIG_VALUE, _PLAIN_FLAGS = 1, 1
_MAX_KEY = 511
_NO_PAGE = (1 << 64) - 1


class DamagedTree(Exception):
    """A page is not what its place in the tree says."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A database by its record in the meta page (`MDB_db`)."""

    page_size: int
    flags: int
    depth: int
    entries: int
    root: int


def parse(page_size: int, record: bytes) -> Tree:
    """The record of a database, 48 bytes."""
    _, flags, depth, _, _, _, entries, root = struct.unpack("<IHHQQQQQ", record)
    return Tree(page_size, flags, depth, entries, root)


def entries(view: mmap.mmap, tree: Tree) -> Iterator[tuple[bytes, bytes]]:
    """All (key, value) in key order. Raises DamagedTree, also where they are not as many as the tree counts."""
    count, last = 0, b""
    if tree.root != _NO_PAGE:
        for key, value in _below(view, tree, tree.root, 1):
            if key <= last:
                raise DamagedTree(f"the keys are out of order at {key!r}")
            last, count = key, count + 1
            yield key, value
    if count != tree.entries:
        raise DamagedTree(f"it counts {tree.entries} entries and has {count}")


def _below(view: mmap.mmap, tree: Tree, number: int, depth: int) -> Iterator[tuple[bytes, bytes]]:
    start = number * tree.page_size
    is_leaf = depth == tree.depth
    flags, lower, upper = _header(view, tree, number)
    if flags & _KINDS != (_LEAF if is_leaf else _BRANCH) or lower % 2 or not 16 <= lower <= upper <= tree.page_size:
        raise DamagedTree(f"page {number} is no {'leaf' if is_leaf else 'branch'} of the tree")
    page = view[start : start + tree.page_size]
    for (place,) in struct.iter_unpack("<H", page[16:lower]):
        if not upper <= place <= tree.page_size - _NODE.size:
            raise DamagedTree(f"page {number} has an entry outside itself")
        low, high, node_flags, key_size = _NODE.unpack_from(page, place)
        data = place + _NODE.size + key_size
        if key_size > _MAX_KEY or data > tree.page_size:
            raise DamagedTree(f"page {number} has a key of {key_size} bytes")
        if not is_leaf:
            yield from _below(view, tree, low | high << 16 | node_flags << 32, depth + 1)
            continue
        key, size = page[place + _NODE.size : data], low | high << 16
        if not node_flags & _BIG_VALUE:
            if node_flags or data + size > tree.page_size:
                raise DamagedTree(f"page {number}: the value of {key!r} does not fit into it")
            yield key, page[data : data + size]
            continue
        if node_flags & ~_PLAIN_FLAGS or data + 8 > tree.page_size:
            raise DamagedTree(f"page {number}: the entry of {key!r} is damaged")
        yield key, _big_value(view, tree, int.from_bytes(page[data : data + 8], "little"), size)


def _big_value(view: mmap.mmap, tree: Tree, number: int, size: int) -> bytes:
    """A value on pages of its own, behind one page header."""
    flags, low, high = _header(view, tree, number)
    start, pages = number * tree.page_size, low | high << 16
    if flags & _KINDS != _OVERFLOW or 16 + size > pages * tree.page_size or start + 16 + size > len(view):
        raise DamagedTree(f"page {number} does not hold the value of {size} bytes that it should")
    return view[start + 16 : start + 16 + size]


def _header(view: mmap.mmap, tree: Tree, number: int) -> tuple[int, int, int]:
    """(flags, lower, upper) of a page inside the file that bears its own number."""
    start = number * tree.page_size
    if not 2 <= number or start + tree.page_size > len(view):
        raise DamagedTree(f"page {number} is outside the file")
    own, _, flags, lower, upper = _PAGE.unpack_from(view, start)
    if own != number:
        raise DamagedTree(f"page {number} is overwritten")
    return flags, lower, upper
