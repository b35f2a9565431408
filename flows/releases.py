"""Releases in the bucket: content-addressed objects and one index each; `textgan releases` lists and checks them.

    PREFIX/sha256/ab/abcd...      an object, named by the sha256 of its bytes; written once
    PREFIX/releases/NAME.json     a release: commit, main numbers, and path, size and sha256 of each file; written last

A release is visible from the moment its index is; before, its objects belong to nothing. Whoever reads an index does
not trust it: paths, sizes and hashes are checked here, whatever wrote it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import secrets
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.remote import Remote, client
from textgan.errors import UserError
from textgan.files import to_json
from textgan.progress import Progress

FORMAT = 1
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
HASH = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
MAX_INDEX_BYTES = 64 << 20
"""Some 400,000 files; a longer index is refused before it is read."""
BLOCK = 1 << 20
THREADS = 8
PRESENT = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
"""Error codes of a conditional put whose object exists, or is being written by another."""
MISSING = ("NoSuchKey", "404", "NotFound")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a release."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Index:
    """A release: what `releases/NAME.json` holds."""

    name: str
    commit: str
    date: str
    """Of the commit."""
    subject: str
    datasets: dict[str, dict[str, float]]
    """Main numbers of each dataset."""
    files: tuple[File, ...]
    format: int = FORMAT

    def to_bytes(self) -> bytes:
        """Canonical JSON: the same release, the same bytes."""
        return to_json(asdict(self)).encode()

    def digest(self) -> str:
        """sha256 of the index: names the release with everything in it."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def check_name(name: str) -> str:
    """A release's name, or UserError with the rule."""
    if not NAME.fullmatch(name) or ".." in name:
        raise UserError(
            f"release name {name!r}: it must be 1 to 64 of A-Z a-z 0-9 . _ -, begin and end in a letter or digit"
        )
    return name


def parse_index(payload: bytes, name: str) -> Index:
    """Read an index that may be hostile. Raises UserError that names the key and the rule."""
    where = f"releases/{name}.json"
    try:
        value = json.loads(payload)
        files = tuple(File(str(item["path"]), item["size"], str(item["sha256"])) for item in value["files"])
        texts = {key: value[key] for key in ("name", "commit", "date", "subject")}
        index = Index(**texts, datasets=value["datasets"], files=files, format=value["format"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{where}: not an index of a release: {type(error).__name__} {error}") from None
    if index.format != FORMAT:
        raise UserError(f"{where}: format is {index.format!r}; it must be {FORMAT}")
    if index.name != name:
        raise UserError(f"{where}: name is {index.name!r}; it must be {name!r}")
    if not COMMIT.fullmatch(str(index.commit)):
        raise UserError(f"{where}: commit is {index.commit!r}; it must be a full commit hash")
    _check_files(files, where)
    return index


def _check_files(files: tuple[File, ...], where: str) -> None:
    """Every path stays in its directory, and no path is another's directory."""
    seen: set[str] = set()
    for file in files:
        parts = file.path.split("/")
        plain = file.path.isprintable() and not set('\\:*?"<>|') & set(file.path) and len(file.path.encode()) <= 1024
        if not plain or any(part in ("", ".", "..") or part.endswith((".", " ")) or len(part) > 200 for part in parts):
            raise UserError(f"{where}: path {file.path!r} is refused; it must be a plain relative path")
        if not isinstance(file.size, int) or isinstance(file.size, bool) or file.size < 0:
            raise UserError(f"{where}: size of {file.path} is {file.size!r}; it must be a number of bytes")
        if not HASH.fullmatch(file.sha256):
            raise UserError(f"{where}: sha256 of {file.path} is {file.sha256!r}; it must be 64 hex digits")
        if file.path.casefold() in seen:
            raise UserError(f"{where}: path {file.path!r} comes twice (or differs in case only)")
        seen.add(file.path.casefold())
    for file in files:
        above = file.path.casefold().split("/")[:-1]
        for depth in range(1, len(above) + 1):
            if "/".join(above[:depth]) in seen:
                raise UserError(f"{where}: {'/'.join(above[:depth])!r} is both a file and a directory")


class Store:
    """The part of the bucket that holds releases. Every error is a UserError that names the object."""

    def __init__(self, remote: Remote) -> None:
        self.remote, self.s3 = remote, client(remote)

    def index_key(self, name: str) -> str:
        """Where a release's index is."""
        return f"{self.remote.prefix}/releases/{name}.json"

    def object_key(self, sha256: str) -> str:
        """Where an object is."""
        return f"{self.remote.prefix}/sha256/{sha256[:2]}/{sha256}"

    def put_new(self, key: str, body: Any, sha256: str) -> bool:
        """Write an object unless it exists; False where it does. The server checks the digest on the way in."""
        from botocore.exceptions import ClientError

        with self.telling(key):
            try:
                self.s3.put_object(
                    Bucket=self.remote.bucket, Key=key, Body=body, IfNoneMatch="*", ChecksumSHA256=_base64(sha256)
                )
                return True
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in PRESENT:
                    return False
                raise

    def put_over(self, key: str, body: Any, sha256: str) -> None:
        """Write an object whatever is there: only for one whose bytes are not those that its name says."""
        with self.telling(key):
            self.s3.put_object(Bucket=self.remote.bucket, Key=key, Body=body, ChecksumSHA256=_base64(sha256))

    def check_conditions(self) -> None:
        """Refuse a storage that ignores If-None-Match: there two publishers could overwrite each other."""
        key = f"{self.remote.prefix}/probe/{secrets.token_hex(8)}"
        digest = hashlib.sha256(b"").hexdigest()
        self.put_new(key, b"", digest)
        if self.put_new(key, b"", digest):
            raise UserError(
                f"storage: {self.remote.endpoint} ignores If-None-Match; releases could be overwritten there"
            )
        with self.telling(key):
            self.s3.delete_object(Bucket=self.remote.bucket, Key=key)

    def read_optional(self, key: str, at_most: int = MAX_INDEX_BYTES) -> bytes | None:
        """The bytes of a small object; None where there is none of that key."""
        from botocore.exceptions import ClientError

        with self.telling(key):
            try:
                reply = self.s3.get_object(Bucket=self.remote.bucket, Key=key)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in MISSING:
                    return None
                raise
            if reply["ContentLength"] > at_most:
                raise UserError(f"storage: {key} has {reply['ContentLength']} bytes; it must have at most {at_most}")
            return bytes(reply["Body"].read())

    def read_index(self, name: str) -> tuple[Index, bytes] | None:
        """A release and its index's bytes, if there is one of that name."""
        payload = self.read_optional(self.index_key(check_name(name)))
        return None if payload is None else (parse_index(payload, name), payload)

    def need_index(self, name: str) -> tuple[Index, bytes]:
        """The same; a name that is not there is the user's mistake."""
        found = self.read_index(name)
        if found is None:
            there = ", ".join(self.names()) or "none yet"
            raise UserError(
                f"release {name!r} is not in s3://{self.remote.bucket}/{self.remote.prefix}; there: {there}"
            )
        return found

    def names(self) -> list[str]:
        """Names of all releases, sorted."""
        prefix = f"{self.remote.prefix}/releases/"
        keys = [key.removeprefix(prefix) for key, _, _ in self.listed(prefix)]
        return sorted(key.removesuffix(".json") for key in keys if key.endswith(".json") and NAME.fullmatch(key[:-5]))

    def listed(self, prefix: str) -> Iterator[tuple[str, int, Any]]:
        """(key, bytes, time of writing) of every object below a prefix."""
        with self.telling(prefix):
            for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.remote.bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    yield item["Key"], item["Size"], item["LastModified"]

    def read_from(self, sha256: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of an object from an offset on, in blocks; UserError where it is missing."""
        key = self.object_key(sha256)
        with self.telling(key):
            asked = {"Range": f"bytes={offset}-"} if offset else {}
            reply = self.s3.get_object(Bucket=self.remote.bucket, Key=key, **asked)
            yield from reply["Body"].iter_chunks(BLOCK)

    def is_whole(self, file: File) -> bool:
        """Whether the stored object has the bytes that its name says; reads it all."""
        digest, size = hashlib.sha256(), 0
        for block in self.read_from(file.sha256):
            digest.update(block)
            size += len(block)
        return digest.hexdigest() == file.sha256 and size == file.size

    @contextlib.contextmanager
    def telling(self, key: str) -> Iterator[None]:
        """Errors of the client become one line with the object and the endpoint."""
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            what = "is missing" if code in MISSING else f"failed: {error}"
            raise UserError(f"storage: {self.remote.endpoint}: {key} {what}") from None
        except (BotoCoreError, HTTPError, OSError) as error:
            raise UserError(f"storage: {self.remote.endpoint}: {key}: {type(error).__name__}: {error}") from None


def damaged(store: Store, index: Index) -> list[str]:
    """One line for each file of a release whose object is missing or has other bytes."""
    progress = Progress(len(index.files), f"check {index.name}", "files")

    def look(file: File) -> str | None:
        try:
            whole = store.is_whole(file)
        except UserError as error:
            return f"{file.path}: {error}"
        progress.update()
        return None if whole else f"{file.path}: {store.object_key(file.sha256)} does not have the bytes of its name"

    with ThreadPoolExecutor(THREADS) as pool:
        found = [line for line in pool.map(look, index.files) if line]
    progress.close()
    return found


def releases(
    name: Annotated[str | None, typer.Argument(help="List the files of this release.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Read every object again and compare its hash.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the releases of the attached storage, or one's files; --check reads and hashes them."""
    from flows import storage

    store = Store(storage.ensure_started())
    found = [store.need_index(each)[0] for each in ([name] if name else store.names())]
    if as_json:
        print(to_json([asdict(index) | {"index_sha256": index.digest()} for index in found]), end="")
    elif not found:
        print("no releases; `textgan publish` makes one")
    for index in found if not as_json else []:
        size = sum(file.size for file in index.files)
        what = f"{index.date[:10]}  {len(index.files)} files, {size / 1e6:.1f} MB"
        print(f"{index.name:<20} commit {index.commit[:12]}  {what}")
        print(f"{'':<20} index sha256 {index.digest()}")
        for dataset, numbers in index.datasets.items():
            shown = ", ".join(f"{key} {value:.4g}" for key, value in numbers.items())
            print(textwrap.indent(textwrap.fill(f"{dataset}: {shown or 'no numbers'}", 100), " " * 21))
        for file in index.files if name else []:
            print(f"  {file.sha256[:16]}  {file.size:>12}  {file.path}")
    if check:
        bad = [line for index in found for line in damaged(store, index)]
        if bad:
            raise UserError(f"{len(bad)} objects are damaged: {'; '.join(bad)}")
        print(f"checked, releases {len(found)}: every object has the bytes that its hash names")


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def path_of(place: Path, file: File) -> Path:
    """Where a checked file goes under a directory."""
    return place.joinpath(*file.path.split("/"))
