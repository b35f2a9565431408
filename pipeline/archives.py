"""Unpacking of archives that came over a network: nothing but the files that are expected comes out.

Each member's name must be one of those that the caller lists, so no name can leave the directory; links, encrypted
and special files are refused; what the members declare is checked against a limit before a byte is written, and
zipfile gives no more bytes than a member declares and checks each CRC.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from textgan.errors import UserError
from textgan.progress import Progress

BLOCK = 1 << 20
MIB = 1 << 20
MAX_RATIO = 4
"""Encoded photos do not shrink; an LMDB's half-empty pages do, by less than this."""
SLACK_BYTES = 64 * MIB
"""For small archives: LMDB pages of few entries are mostly zeros."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A file that came out of an archive."""

    bytes: int
    sha256: str


def check_archive(path: Path, wanted: str, ignored: frozenset[str]) -> zipfile.ZipInfo:
    """The member `wanted`, after a look at the names, kinds and declared sizes of all. Raises UserError.

    `ignored` members may be there and are not unpacked; any other one is refused.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path}: not a whole ZIP archive: {error}") from None
    names = [member.filename for member in members]
    for member in members:
        _check_member(path, member, ignored | {wanted})
        if names.count(member.filename) > 1:
            raise UserError(f"{path}: it has {member.filename!r} twice")
    if wanted not in names:
        raise UserError(f"{path}: it has no {wanted}; it has {', '.join(sorted(names)[:5]) or 'no members'}")
    declared, limit = sum(member.file_size for member in members), MAX_RATIO * path.stat().st_size + SLACK_BYTES
    if declared > limit:
        raise UserError(f"{path}: its members declare {declared} bytes; at most {limit} are unpacked from its size")
    return members[names.index(wanted)]


def _check_member(path: Path, member: zipfile.ZipInfo, allowed: frozenset[str]) -> None:
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    if member.orig_filename != name or name not in allowed:
        raise UserError(f"{path}: it has {member.orig_filename!r}; only {', '.join(sorted(allowed))} may be in it")
    if kind not in (0, stat.S_IFDIR if name.endswith("/") else stat.S_IFREG):  # 0: made where there are no modes
        raise UserError(f"{path}: {name!r} is a link or a special file; only plain files are unpacked")
    if member.flag_bits & 1:
        raise UserError(f"{path}: {name!r} is encrypted")


def unpack_member(path: Path, member: zipfile.ZipInfo, target: Path) -> Unpacked:
    """Write one member to `target`, on disk when this returns. Raises UserError: damaged, no space left."""
    digest, written = hashlib.sha256(), 0
    progress = Progress(member.file_size // MIB, f"unpack {path.name}", "MiB")
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as source, open(target, "xb") as file:
            while block := source.read(BLOCK):
                file.write(block)
                digest.update(block)
                progress.update((written + len(block)) // MIB - written // MIB)
                written += len(block)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(f"{target}: no space left after {written} of {member.file_size} bytes") from None
        raise UserError(f"{path}: {member.filename} cannot be unpacked: {error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: {member.filename} is damaged: {error}") from None
    progress.close()
    if written != member.file_size:
        raise UserError(f"{path}: {member.filename} has {written} bytes; the archive declares {member.file_size}")
    return Unpacked(written, digest.hexdigest())
