"""Exports in S3: brought to `.state/exports/<hash of the URL>/` once, in pieces that survive a broken connection.
An image tree is packed into an LMDB on its way (`pipeline.s3_tree`).

Usage: python -m pipeline.s3 s3://BUCKET/PREFIX/ OUT (keys, region, endpoint as boto3 reads them: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_ENDPOINT_URL ...). An interrupted download goes on where it ended, as long as
the object is the same one (If-Match); size and, where the server knows one, checksum of the whole are verified.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.annotation_files import NAMES as ANNOTATIONS
from textgan.errors import UserError, program
from textgan.files import STATE, fingerprint, write_json
from textgan.progress import Progress

SCHEME = "s3://"
DATA = "data.mdb"
BLOCK = MIB = 1 << 20
BACK_OFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Waits between attempts that bring nothing; an attempt that brings bytes starts again at the first."""
_NO_SUCH = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchBucket"})
_REFUSED = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"})
PASSING = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "500", "502", "503", "504"})


@dataclass(frozen=True, slots=True)
class Promise:
    """What the server says of an object before its first byte."""

    url: str
    bytes: int
    etag: str
    checksum: str
    """`md5:HEX`, `sha256:BASE64` or `crc32:BASE64` of the whole; empty where the server knows none."""


def local_export(text: str) -> Path:
    """Where an export given by path or `s3://` is on this machine; one in S3 is brought first."""
    return fetch_export(text, STATE / "exports" / fingerprint(text)) if text.startswith(SCHEME) else Path(text)


def fetch_export(url: str, out: Path) -> Path:
    """Bring data.mdb, and annotations where there are some, to `out`. What is whole stays. Raises UserError."""
    bucket, key = _parsed(url)
    client = _client()
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits, and then finds all of it
        data = _Object(client, bucket, key, out / DATA)
        if not key.endswith(f"/{DATA}") or data.exists() or not _bring_tree(client, bucket, key, data.out):
            data.bring()
        for name in ANNOTATIONS if key.endswith(f"/{DATA}") else ():
            notes = _Object(client, bucket, key.removesuffix(DATA) + name, out / name)
            if notes.exists():
                notes.bring()
    return out


def brought(url: str) -> Path | None:
    """Where an export in S3 is on this machine; None where it is not, or not whole."""
    place = STATE / "exports" / fingerprint(url)
    return place if (place / DATA).exists() else None


def listed(url: str) -> tuple[int | None, int]:
    """(images, bytes) of an export in S3 as the server lists it; of an LMDB only the bytes. Raises UserError."""
    from pipeline.s3_tree import list_images  # it imports this module

    bucket, key = _parsed(url)
    client = _client()
    data = _Object(client, bucket, key, Path(DATA))
    if key.endswith(f"/{DATA}") and not data.exists():
        items = list_images(client, bucket, key.removesuffix(DATA))
        if items:
            return len(items), sum(item.bytes for item in items)
    return None, data.promise().bytes


def _bring_tree(client: Any, bucket: str, key: str, out: Path) -> bool:
    from pipeline.s3_tree import bring_tree  # it imports this module

    return bring_tree(client, bucket, key.removesuffix(DATA), out)


def _parsed(url: str) -> tuple[str, str]:
    """(bucket, key of the data file) of `s3://bucket/prefix`, `s3://bucket/prefix/` or `s3://bucket/prefix/x.mdb`."""
    bucket, _, key = url.removeprefix(SCHEME).partition("/")
    if not re.fullmatch(r"[a-zA-Z0-9._-]{3,255}", bucket) or not key.strip("/"):
        raise UserError(f"{url}: must be s3://BUCKET/PREFIX/ of an LSUN export (the object PREFIX/{DATA})")
    return bucket, key if key.endswith(".mdb") else f"{key.rstrip('/')}/{DATA}"


def _client() -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    settings = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint else "auto"},
        retries={"max_attempts": 3, "mode": "standard"},
        connect_timeout=10,
        read_timeout=60,
        response_checksum_validation="when_required",  # parts have none; the whole is verified at the end
        proxies={} if "//127.0.0.1" in endpoint or "//localhost" in endpoint else None,
    )
    try:
        session = boto3.session.Session()
        return session.client("s3", region_name=session.region_name or "us-east-1", config=settings)
    except (BotoCoreError, ValueError) as error:
        raise UserError(f"environment: S3 cannot be used: {error}") from None


class _Interrupted(Exception):
    """An attempt ended without the whole object; another may get further."""


class _Object:
    """One object and its place. The part lies beside it as NAME.part with NAME.json, what the server promised."""

    def __init__(self, client: Any, bucket: str, key: str, out: Path) -> None:
        self.client, self.out = client, out
        self.where = {"Bucket": bucket, "Key": key}
        self.url = f"{SCHEME}{bucket}/{key}"
        self.part, self.record = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.json")

    def exists(self) -> bool:
        """Whether the server has the object."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client.head_object(**self.where)
        except ClientError as error:
            if code_of(error) in _NO_SUCH:
                return False
            raise self._refusal(error) from None
        except BotoCoreError as error:
            raise self._unreachable(error) from None
        return True

    def bring(self) -> None:
        """Have the whole object at `out`. Raises UserError."""
        promise = self.promise()
        known = self._known()
        if known != promise:
            if known is not None:
                print(f"s3: {self.url} is another object than before: from the beginning", flush=True)
            for path in (self.out, self.part):
                path.unlink(missing_ok=True)
            write_json(self.record, {name: getattr(promise, name) for name in Promise.__slots__})
        if self.out.exists() and self.out.stat().st_size == promise.bytes:
            return
        self._make_room(promise)
        self._download(promise)
        self._verify(promise)
        os.replace(self.part, self.out)
        print(f"s3: {self.url}: {promise.bytes} bytes, {_verified(promise)}", flush=True)

    def promise(self) -> Promise:
        """What the server says of the object. Raises UserError."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            head = self.client.head_object(**self.where, ChecksumMode="ENABLED")
        except ClientError as error:
            raise self._refusal(error) from None
        except BotoCoreError as error:
            raise self._unreachable(error) from None
        return Promise(self.url, int(head["ContentLength"]), head["ETag"], _checksum(head))

    def _known(self) -> Promise | None:
        """The promise of an earlier run."""
        try:
            return Promise(**json.loads(self.record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _make_room(self, promise: Promise) -> None:
        needed, free = promise.bytes - self._size(), shutil.disk_usage(self.part.parent).free
        if needed > free:
            raise UserError(f"{self.part}: {self.url} needs {needed} more bytes; the disk has {free}")

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _download(self, promise: Promise) -> None:
        self.part.touch()
        progress = Progress(promise.bytes // MIB, f"s3 {self.out.name}", "MiB")
        progress.skip(self._size() // MIB)
        fruitless = 0
        while self._size() < promise.bytes:
            before = self._size()
            try:
                self._attempt(promise, progress)
            except _Interrupted as interruption:
                what = f"{self.url}: {interruption} ({self._size()} of {promise.bytes} bytes are here)"
                fruitless = 0 if self._size() > before else fruitless + 1
                if fruitless > len(BACK_OFF_SECONDS):
                    raise UserError(f"{what}; the same command goes on from there") from None
                wait = BACK_OFF_SECONDS[max(fruitless - 1, 0)]
                print(f"s3: {what}; again in {wait:.0f} s", flush=True)
                time.sleep(wait)
        progress.close()

    def _attempt(self, promise: Promise, progress: Progress) -> None:
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        have, last = self._size(), promise.bytes - 1
        try:
            reply = self.client.get_object(**self.where, Range=f"bytes={have}-{last}", IfMatch=promise.etag)
            span = f"bytes {have}-{last}/{promise.bytes}"
            if reply.get("ContentRange") != span:
                raise _Interrupted(f"asked for {span}, the server sends {reply.get('ContentRange')!r}")
            with open(self.part, "ab") as file:
                while have < promise.bytes:
                    block = reply["Body"].read(min(BLOCK, promise.bytes - have))
                    if not block:
                        raise _Interrupted("the server ended early")
                    self._write(file, block)
                    progress.update((have + len(block)) // MIB - have // MIB)
                    have += len(block)
                os.fsync(file.fileno())
        except ClientError as error:
            if code_of(error) in ("412", "PreconditionFailed"):
                raise UserError(f"{self.url}: it changed while it was read; the same command begins again") from None
            if code_of(error) in PASSING:
                raise _Interrupted(f"the server answers {code_of(error)}") from None
            raise self._refusal(error) from None
        except (BotoCoreError, HTTPError, OSError) as error:
            raise _Interrupted(f"the connection broke: {type(error).__name__}") from None

    def _write(self, file: Any, block: bytes) -> None:
        try:
            file.write(block)
            file.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise UserError(f"{self.part}: {error.strerror}; make room, repeat: it goes on from there") from None

    def _verify(self, promise: Promise) -> None:
        kind, _, expected = promise.checksum.partition(":")
        found = _DIGESTS[kind](self.part) if kind else expected
        if found != expected:
            self.part.unlink()
            raise UserError(f"{self.url}: arrived with {kind} {found}, the server says {expected}; removed, repeat")

    def _refusal(self, error: Any) -> UserError:
        """One line for what the server refuses. Replies to HEAD have no reason, so the bucket is asked for it."""
        from botocore.exceptions import BotoCoreError, ClientError

        code = code_of(error)
        bucket = self.where["Bucket"]
        try:
            self.client.list_objects_v2(Bucket=bucket, MaxKeys=1)
        except ClientError as second:
            code = code_of(second) if code in _NO_SUCH | {"403", "400", "Forbidden"} else code
            if code in _NO_SUCH:
                return UserError(f"{self.url}: no bucket {bucket!r} at {self._endpoint()}")
        except BotoCoreError as second:
            return self._unreachable(second)
        if code in _NO_SUCH:
            return UserError(f"{self.url}: no such object; an export in S3 is s3://BUCKET/PREFIX/ with PREFIX/{DATA}")
        if code in _REFUSED:
            return UserError(
                f"{self.url}: {self._endpoint()} refuses the credentials ({code}); "
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            )
        if code in ("403", "Forbidden", "AccessDenied"):
            return UserError(f"{self.url}: {self._endpoint()} does not let these credentials read it ({code})")
        return UserError(f"{self.url}: {self._endpoint()} answers {code}")

    def _unreachable(self, error: Exception) -> UserError:
        from botocore.exceptions import NoCredentialsError, PartialCredentialsError

        if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
            how = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            return UserError(f"{self.url}: no credentials for S3; {how}")
        reason = " ".join(str(error).split())
        return UserError(f"{self.url}: {self._endpoint()} cannot be reached (AWS_ENDPOINT_URL?): {reason}")

    def _endpoint(self) -> str:
        return str(self.client.meta.endpoint_url)


def code_of(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _checksum(head: dict[str, Any]) -> str:
    """The checksum of the whole object: a composite one (of its parts) says nothing without their bounds."""
    if head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
        for kind, field in (("sha256", "ChecksumSHA256"), ("crc32", "ChecksumCRC32")):
            if head.get(field) and "-" not in head[field]:
                return f"{kind}:{head[field]}"
    return md5_of(head)


def md5_of(reply: dict[str, Any]) -> str:
    """`md5:HEX` where an ETag is one: not of objects in parts, nor of those encrypted with a key of their own."""
    etag = reply["ETag"].strip('"')
    encrypted = str(reply.get("ServerSideEncryption", "")).startswith("aws:kms") or "SSECustomerAlgorithm" in reply
    return f"md5:{etag}" if re.fullmatch("[0-9a-f]{32}", etag) and not encrypted else ""


def _verified(promise: Promise) -> str:
    kind = promise.checksum.partition(":")[0]
    return f"{kind} verified" if kind else "size verified (the server knows no checksum of the whole)"


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()


def _crc32(path: Path) -> str:
    value = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            value = zlib.crc32(block, value)
    return base64.b64encode(value.to_bytes(4, "big")).decode()


_DIGESTS: dict[str, Callable[[Path], str]] = {"md5": _md5, "sha256": _sha256, "crc32": _crc32}


def main() -> None:
    """Bring one export to a directory."""
    if len(sys.argv) != 3 or not sys.argv[1].startswith(SCHEME):
        raise UserError("usage: python -m pipeline.s3 s3://BUCKET/PREFIX/ OUT")
    fetch_export(sys.argv[1], Path(sys.argv[2]))


if __name__ == "__main__":
    program(main)
