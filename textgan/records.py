"""Samples and their names: the sample key and the inventory's columns."""

from __future__ import annotations

import hashlib

SPLITS = ("train", "select", "test")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_MAX_LENGTH = 120


def sample_key(export: str, lmdb_key: bytes) -> str:
    """The permanent name of a sample: `E-` and the LMDB key, safe as a file name and a tar member.

    ASCII letters, digits, `_`, `-` stand for themselves, any other byte is `~` and two hex digits;
    what would pass 120 characters is cut and ends in `~~` and 38 hex digits of the key's sha256.
    No dot: webdataset splits a member's name at the first one.
    """
    name = f"{export}-" + "".join(chr(byte) if byte in _PLAIN else f"~{byte:02x}" for byte in lmdb_key)
    if len(name) <= _MAX_LENGTH:
        return name
    return f"{name[: _MAX_LENGTH - 41]}~~{hashlib.sha256(lmdb_key).hexdigest()[:38]}"  # 79 + 2 + 38 characters
