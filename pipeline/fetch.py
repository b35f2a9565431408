"""`textgan fetch CATEGORY`: download an official LSUN archive and publish its LMDB. The one command that downloads.

    DIR/.cat.fetch/archive.zip, download.json    while it runs, and after an interruption
    DIR/cat/data.mdb, archive.json               at the end, by one rename

`archive.json` says what was fetched: URL, size, ETag, measured sha256, and the same of data.mdb. The archive's
lock.mdb stays in it: a lock file belongs to the machine that made it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import lmdb
import typer

from pipeline.archives import check_archive, unpack_member
from pipeline.download import BLOCK, MIB, Download, Promise
from pipeline.exports import check_data_file
from pipeline.lsun import BASE_URL, Archive, find_archive
from textgan.errors import UserError
from textgan.files import publish_dir, write_json
from textgan.progress import Progress

ROOT_VARIABLE = "TEXTGAN_LSUN_ROOT"
RECORD = "archive.json"


def fetch(
    category: Annotated[str, typer.Argument(help="LSUN category: cat, car, bedroom, church_outdoor, ...")],
    split: Annotated[str, typer.Option(help="train or val; only scenes have a val set.")] = "train",
    out: Annotated[
        Path | None, typer.Option(help=f"Directory that gets CATEGORY/data.mdb; without it, {ROOT_VARIABLE}.")
    ] = None,
    base_url: Annotated[str, typer.Option(help="Where scenes/ and objects/ are.")] = BASE_URL,
    sha256: Annotated[str | None, typer.Option(help="Of the archive; replaces the recorded one.")] = None,
) -> None:
    """Download an official LSUN archive (resumable, checked) and unpack its LMDB."""
    archive = find_archive(category, split)
    url = _checked_url(base_url) + "/" + archive.path
    if sha256 is not None and (len(sha256) != 64 or not set(sha256.lower()) <= set("0123456789abcdef")):
        raise UserError(f"--sha256 is {sha256!r}; it must be 64 hex digits")
    target = _out_directory(out) / archive.export
    record = fetch_archive(archive, url, target, sha256.lower() if sha256 else None)
    if archive.sha256 is None and sha256 is None:
        print(f"{archive.file}: no official sha256 is recorded; this one has {record['sha256']}")
    print(f"{target / 'data.mdb'}: {record['entries']} images, {record['data']['bytes']} bytes, from {record['url']}")


def fetch_archive(archive: Archive, url: str, target: Path, sha256: str | None) -> dict[str, Any]:
    """Bring `target` into being, or find it there; returns its record. Raises UserError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_name(f".{target.name}.fetch")
    with _locked(work):
        record = _finished(target, sha256)
        if record is None:
            promise = Download(url, work, lambda promise, have: _check_promise(archive, promise, have, work)).run()
            record = _unpack(archive, promise, work, sha256)
            publish_dir(work / "export", target)
        else:
            print(f"{target}: already there")
        shutil.rmtree(work)
    return record


def _unpack(archive: Archive, promise: Promise, work: Path, sha256: str | None) -> dict[str, Any]:
    """Check the whole archive and unpack it into work/export; returns the record."""
    path, built = work / "archive.zip", work / "export"
    if built.exists():
        shutil.rmtree(built)  # of a run that was killed while it unpacked
    measured = _digest(path)
    expected = sha256 or (archive.sha256 if promise.bytes == archive.bytes else None)
    if expected and measured != expected:
        raise UserError(
            f"{path}: its sha256 is {measured}; it must be {expected}. It is kept; remove {work} to download it again"
        )
    wanted = f"{archive.folder}/data.mdb"
    member = check_archive(path, wanted, frozenset({f"{archive.folder}/", f"{archive.folder}/lock.mdb"}))
    _check_space(work, member.file_size, f"unpack {wanted}")
    built.mkdir()
    data = unpack_member(path, member, built / "data.mdb")
    entries = _count_entries(built / "data.mdb")
    record = {
        "url": promise.url,
        "bytes": promise.bytes,
        "etag": promise.etag,
        "last_modified": promise.last_modified,
        "sha256": measured,
        "official": measured == archive.sha256,
        "entries": entries,
        "data": {"bytes": data.bytes, "sha256": data.sha256},
    }
    write_json(built / RECORD, record)
    return record


def _count_entries(path: Path) -> int:
    """How many images the LMDB has. Raises UserError: truncated, none."""
    check_data_file(path)
    try:
        with lmdb.open(str(path), subdir=False, readonly=True, create=False, lock=False) as environment:
            return int(environment.stat()["entries"])
    except lmdb.Error as error:
        raise UserError(f"{path}: LMDB cannot read it: {error}") from None


def _finished(target: Path, sha256: str | None) -> dict[str, Any] | None:
    """The record of an export that is there and whole; None where nothing is. Raises UserError: something else is."""
    if not os.path.lexists(target):
        return None
    try:
        record = json.loads((target / RECORD).read_text(encoding="utf-8"))
        size, entries, digest = record["data"]["bytes"], record["entries"], record["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{target}: exists, and `textgan fetch` did not make it; give another --out") from None
    data = target / "data.mdb"
    if not data.is_file() or data.stat().st_size != size:
        raise UserError(f"{data}: is not the {size} bytes that were fetched; remove {target} and fetch again")
    if sha256 and digest != sha256:
        raise UserError(f"{target}: was fetched from an archive with sha256 {digest}, not {sha256}; move it away")
    return dict(record) | {"entries": int(entries)}


def _check_promise(archive: Archive, promise: Promise, have: int, work: Path) -> None:
    """Before a byte is written: the official server must have the recorded size, the disk must have room."""
    if promise.url.startswith(BASE_URL + "/") and archive.bytes not in (None, promise.bytes):
        raise UserError(
            f"{promise.url}: is {promise.bytes} bytes long; {archive.bytes} were recorded for {archive.file}"
        )
    # The LMDB is at least about as large as its archive; both are there until the end.
    _check_space(work, promise.bytes - have + promise.bytes, f"download and unpack {archive.file}")


def _check_space(directory: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise UserError(f"{directory.parent}: {free} bytes are free; to {what} takes {needed}")


def _digest(path: Path) -> str:
    """sha256 of the archive as it lies on the disk."""
    digest, done = hashlib.sha256(), 0
    progress = Progress(path.stat().st_size // MIB, "check sha256", "MiB")
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            progress.update((done + len(block)) // MIB - done // MIB)
            done += len(block)
    progress.close()
    return digest.hexdigest()


def _checked_url(base_url: str) -> str:
    parts = urllib.parse.urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise UserError(f"--base-url is {base_url!r}; it must be http://HOST/PATH or https://HOST/PATH")
    return base_url.rstrip("/")


def _out_directory(out: Path | None) -> Path:
    if out is None and not os.environ.get(ROOT_VARIABLE):
        raise UserError(f"--out is missing: the directory that gets the export (or set {ROOT_VARIABLE})")
    directory = out if out is not None else Path(os.environ[ROOT_VARIABLE])
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is no directory; --out must be one")
    return directory


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Hold `work`, made where it is missing; two fetches of one export would write into one file."""
    while True:
        work.mkdir(exist_ok=True)
        descriptor = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(f"{work}: another `textgan fetch` is at work here") from None
        if work.exists() and os.path.samestat(os.fstat(descriptor), os.stat(work)):
            break
        os.close(descriptor)  # the one that held it has finished and removed it
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            work.rmdir()  # nothing was downloaded; a directory with a part stays
        os.close(descriptor)
