"""One file over HTTP that arrives whole or goes on later: ranges with If-Range, sizes checked, retries with back-off.

The part lies beside `download.json`, which says what the server promised (URL, size, ETag): a part is only ever
continued with bytes of the same file. No reply that contradicts this is written, and no part is thrown away except
where the server itself says that the file is another one now.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from textgan.errors import UserError
from textgan.files import write_json
from textgan.progress import Progress

MIB = 1 << 20
BLOCK = MIB
TIMEOUT_SECONDS = 60.0
BACK_OFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0, 60.0)
"""Waits between attempts that bring nothing; an attempt that brings bytes starts again at the first."""
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP errors that a later attempt may not meet."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What the server said of the file when its first byte was asked for."""

    url: str
    bytes: int
    etag: str | None
    last_modified: str | None

    @property
    def validator(self) -> str | None:
        """For If-Range: a strong ETag, else the date (RFC 9110 13.1.5 forbids weak ETags there)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


class Interrupted(Exception):
    """An attempt ended without the whole file; another may get further."""


class Download:
    """The file of `url` in directory `work`; `check(promise)` may refuse before a byte of it is written."""

    def __init__(self, url: str, work: Path, check: Callable[[Promise, int], None]) -> None:
        self.url, self.check = url, check
        self.part, self.record = work / "archive.zip", work / "download.json"
        self.promise = self._read_promise()
        self.progress: Progress | None = None
        self.opener = _opener()

    def run(self) -> Promise:
        """Bring the whole file; returns what the server promised. Raises UserError."""
        fruitless = 0
        while self.promise is None or self.size() < self.promise.bytes:
            before = self.size()
            try:
                self._attempt()
            except Interrupted as interruption:
                fruitless = 0 if self.size() > before else fruitless + 1
                if fruitless > len(BACK_OFF_SECONDS):
                    failure, work = self._failure(str(interruption)), self.part.parent
                    raise UserError(f"{failure}; the same command goes on from there, or remove {work}") from None
                wait = BACK_OFF_SECONDS[max(fruitless - 1, 0)]
                print(f"fetch: {self._failure(str(interruption))}; again in {wait:.0f} s", flush=True)
                time.sleep(wait)
        if self.size() > self.promise.bytes:
            size, work = self.size(), self.part.parent
            raise UserError(f"{self.part}: has {size} bytes; {self.promise.bytes} were promised; remove {work}")
        if self.progress is not None:
            self.progress.close()
        return self.promise

    def size(self) -> int:
        """Bytes that are here."""
        return self.part.stat().st_size if self.part.exists() else 0

    def _attempt(self) -> None:
        have = self.size() if self.promise else 0
        headers = {"Accept-Encoding": "identity", "User-Agent": "textgan"}
        if self.promise and have:
            headers["Range"] = f"bytes={have}-"
            if self.promise.validator:
                headers["If-Range"] = self.promise.validator
        try:
            response = self.opener.open(urllib.request.Request(self.url, headers=headers), timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in PASSING_STATUS or error.code == 416:
                raise Interrupted(f"the server answers {error.code} {error.reason}") from None
            raise UserError(f"{self.url}: the server answers {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(f"no answer: {_reason(error)}") from None
        with response:
            start = self._start(response, have)
            with open(self.part, "r+b" if start else "wb") as file:
                file.seek(start)
                self._copy(response, file, start)

    def _start(self, response: http.client.HTTPResponse, have: int) -> int:
        """Where the body of this reply belongs, after its headers were checked."""
        promised = _promised(self.url, response, have)
        if response.status == 206:
            begin, total = _content_range(response)
            if self.promise is None or begin != have or total != self.promise.bytes:
                sent = response.headers.get("Content-Range")
                raise Interrupted(f"asked for bytes {have}-, the server sends {sent!r}")
            if promised.etag and self.promise.etag and promised.etag != self.promise.etag:
                self.promise = None  # the next attempt asks for all of it
                raise Interrupted("the file on the server is another one now")
            self._begin(self.promise, have)
            return have
        if response.status != 200:
            raise Interrupted(f"the server answers {response.status}")
        if have and promised == self.promise and promised.validator:
            self._begin(promised, have)
            self._skip(response, have)  # the server knows no ranges: what is here is read again and not written
            return have
        if have:
            print(f"fetch: {self.url} is another file than before: from the beginning", flush=True)
        self.check(promised, 0)
        write_json(self.record, asdict(promised))
        self.promise = promised
        self._begin(promised, 0)
        return 0

    def _begin(self, promise: Promise, have: int) -> None:
        if have:
            self.check(promise, have)
        if self.progress is None:
            name = self.url.rsplit("/", 1)[1]
            self.progress = Progress(promise.bytes // MIB - have // MIB, f"fetch {name}", "MiB")

    def _skip(self, response: http.client.HTTPResponse, length: int) -> None:
        while length:
            length -= len(_read(response, length))

    def _copy(self, response: http.client.HTTPResponse, file: BinaryIO, start: int) -> None:
        if self.promise is None or self.progress is None:
            raise RuntimeError("the headers of a reply are read before its body")
        at = start
        while at < self.promise.bytes:
            block = _read(response, self.promise.bytes - at)
            try:
                file.write(block)
                file.flush()
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                raise UserError(f"{self.part}: no space left after {at} of {self.promise.bytes} bytes") from None
            self.progress.update((at + len(block)) // MIB - at // MIB)
            at += len(block)
        os.fsync(file.fileno())

    def _read_promise(self) -> Promise | None:
        """The record of an earlier run, where it is whole and of the same URL."""
        try:
            value: Any = json.loads(self.record.read_text(encoding="utf-8"))
            promise = Promise(**value)
        except (OSError, ValueError, TypeError):
            return None
        return promise if promise.url == self.url else None

    def _failure(self, what: str) -> str:
        total = self.promise.bytes if self.promise else "?"
        return f"{self.url}: {what} ({self.size()} of {total} bytes are here)"


def _read(response: http.client.HTTPResponse, most: int) -> bytes:
    """The next bytes of a body, at least one. Raises Interrupted."""
    try:
        block = response.read1(min(BLOCK, most))
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"the connection broke: {_reason(error)}") from None
    if not block:
        raise Interrupted("the server ended early")
    return block


def _promised(url: str, response: http.client.HTTPResponse, have: int) -> Promise:
    length = response.headers.get("Content-Length", "")
    if not length.isdigit():
        raise UserError(f"{url}: the server does not say how long it is; such a download could not be checked")
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    return Promise(url, int(length) + (have if response.status == 206 else 0), etag, modified)


def _content_range(response: http.client.HTTPResponse) -> tuple[int, int]:
    """(first byte, total) of `bytes 5-9/10`; (-1, -1) where it says neither."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    return (int(first), int(total)) if unit == "bytes" and first.isdigit() and total.isdigit() else (-1, -1)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(error).__name__


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS alone: a redirect to file: or ftp: has no handler. Proxies of the environment are used."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
