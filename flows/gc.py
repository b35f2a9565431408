"""What the storage holds that no commit and no release names: `textgan storage gc --dry-run` lists it.

Named by commits: every md5 in a dvc.lock or .dvc file of any commit of any branch, tag, worktree, stash or reflog, of
the index and of the tree, and every file of the directories that those md5 name. Named by releases: the objects of
every index, and what the dvc.lock inside a release names, so that a release keeps its data where its commit is gone.
What is younger than the age is kept too: a push or a publish may be under way, in this clone or in another. Commits
that only another clone has are out of sight: collect where the history is, when nobody pushes.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from flows import history
from flows.releases import THREADS, Store
from flows.remote import Remote
from textgan.errors import UserError

AGE_SECONDS = 7 * 24 * 3600.0
"""Younger objects stay: another clone may have pushed them for a commit that this one has not seen."""
MAX_LISTING_BYTES = 1 << 30
LOCKS = re.compile(r"(^|/)dvc\.lock$|[^/]\.dvc$")
DATA = re.compile(r"files/md5/([0-9a-f]{2})/([0-9a-f]{30}(?:\.dir)?)$")
RUN = re.compile(r"(?:^|/)runs/[0-9a-f]{2}/[0-9a-f]{64}/[0-9a-f]{64}$")
UNKNOWN = "not ours"
EXCHANGE = re.compile(r"flows/[^/]+/[^/]+/(?:request|reply)\.json$")
NO_UPLOADS = ("NotImplemented", "MethodNotAllowed")
"""What servers say that know no listing of uploads."""
OBJECT = re.compile(r"sha256/[0-9a-f]{2}/([0-9a-f]{64})$")


@dataclass(frozen=True, slots=True)
class Garbage:
    """One object that would go, and why."""

    key: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in parts that was begun and neither ended nor called off; its parts take room and are no object."""

    key: str
    id: str
    begun: datetime.datetime


@dataclass(slots=True)
class Collection:
    """What a look at the storage found."""

    garbage: list[Garbage] = field(default_factory=list)
    kept: int = 0
    kept_bytes: int = 0
    young: int = 0
    """Named by nothing, and kept for their age alone."""
    unknown: list[str] = field(default_factory=list)
    """Keys that are none of ours: never touched."""
    uploads: list[Upload] = field(default_factory=list)
    """Abandoned ones."""
    young_uploads: int = 0
    """Perhaps under way."""
    unlisted: list[str] = field(default_factory=list)
    """Directory hashes that commits name and whose listing is neither in the cache nor in the storage."""


@dataclass(frozen=True, slots=True)
class Named:
    """What must stay."""

    md5: frozenset[str]
    sha256: frozenset[str]
    unlisted: tuple[str, ...]


def collect(remote: Remote, age_seconds: float = AGE_SECONDS) -> Collection:
    """List what nothing names; deletes nothing. Raises UserError where the history is not whole."""
    store = Store(remote)
    # Listed before the names are read: what is written meanwhile is not in the list.
    objects = list(store.listed(f"{remote.prefix}/"))
    named = names(store)
    found = Collection(unlisted=list(named.unlisted))
    limit = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=age_seconds)
    runs = {key.removeprefix(f"{remote.prefix}/") for key, _, _ in objects if RUN.search(key)}
    wanted_runs = _wanted_runs(store, runs, named.md5)
    for key, size, modified in objects:
        why = _why_not(key.removeprefix(f"{remote.prefix}/"), named, wanted_runs)
        if why == UNKNOWN:
            found.unknown.append(key)
        elif why and modified <= limit:
            found.garbage.append(Garbage(key, size, why))
            continue
        elif why:
            found.young += 1
        found.kept += 1
        found.kept_bytes += size
    for upload in _uploads(store):
        if upload.begun <= limit:
            found.uploads.append(upload)
        else:
            found.young_uploads += 1
    return found


def delete(remote: Remote, found: Collection) -> None:
    """Delete what `collect` found, end the abandoned uploads. Raises UserError where one cannot be."""
    store = Store(remote)
    for item in found.garbage:
        with store.telling(item.key):
            store.s3.delete_object(Bucket=remote.bucket, Key=item.key)
    for upload in found.uploads:
        with store.telling(upload.key):
            store.s3.abort_multipart_upload(Bucket=remote.bucket, Key=upload.key, UploadId=upload.id)


def _uploads(store: Store) -> Iterator[Upload]:
    """Uploads below the prefix that are not over; none where the server cannot list them."""
    from botocore.exceptions import ClientError

    prefix = f"{store.remote.prefix}/"
    with store.telling(prefix):
        try:
            pages = store.s3.get_paginator("list_multipart_uploads").paginate(Bucket=store.remote.bucket, Prefix=prefix)
            for page in pages:
                for item in page.get("Uploads", []):
                    if item["Key"].startswith(prefix):
                        yield Upload(item["Key"], item["UploadId"], item["Initiated"])
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in NO_UPLOADS:
                raise


def _why_not(key: str, named: Named, wanted_runs: set[str]) -> str:
    """Why an object would go; empty where it stays."""
    if key == "identity" or key.startswith("releases/"):
        return ""
    if key.startswith("probe/"):
        return "left by a look whether the storage takes writes"
    if EXCHANGE.fullmatch(key):
        return "left by a flow run between two machines"
    if match := DATA.fullmatch(key):
        return "" if match[1] + match[2] in named.md5 else "no commit and no release names this md5"
    if match := OBJECT.fullmatch(key):
        return "" if match[1] in named.sha256 else "no release names this sha256"
    if RUN.search(key):
        return "" if key in wanted_runs else "run cache of outs that nothing names"
    return UNKNOWN


def names(store: Store) -> Named:
    """Every hash that a commit or a release names, directories opened."""
    texts = list(committed_texts())
    objects: set[str] = set()
    for name in store.names():
        index = store.need_index(name)[0]
        objects |= {file.sha256 for file in index.files}
        for file in index.files:
            if LOCKS.search(file.path):
                payload = b"".join(store.read_from(file.sha256))
                texts.append(payload.decode("utf-8", errors="replace"))
    md5 = {match for text in texts for match in history.MD5.findall(text)}
    directories = sorted(name for name in md5 if name.endswith(history.DIRECTORY))
    with ThreadPoolExecutor(THREADS) as pool:
        listings = list(pool.map(lambda name: _listing(store, name), directories))
    for listing in listings:
        md5 |= set(listing or ())
    unlisted = tuple(name for name, listing in zip(directories, listings, strict=True) if listing is None)
    return Named(frozenset(md5), frozenset(objects), unlisted)


def committed_texts() -> Iterator[str]:
    """Every dvc.lock and .dvc file of the tree, the index and all commits that git can reach in any way.

    Raises UserError in a shallow clone: there most of the history, and with it what it names, is out of sight.
    """
    if history.git("rev-parse", "--is-shallow-repository").strip() == "true":
        raise UserError(
            "storage gc: this clone is shallow and does not know all commits; `git fetch --unshallow` first"
        )
    listed = history.git("rev-list", "--objects", "--all", "--reflog", "--indexed-objects")
    named = [sha for sha, _, path in (line.partition(" ") for line in listed.splitlines()) if LOCKS.search(path)]
    # An object is listed once, by one of its paths: ask each commit for its lock by name as well.
    named += [f"{sha}:{history.LOCK_FILE}" for sha in history.git("rev-list", "--all", "--reflog").split()]
    checked = history.git("cat-file", "--batch-check=%(objecttype) %(objectname)", stdin="\n".join([*named, ""]))
    blobs = {line.removeprefix("blob ") for line in checked.splitlines() if line.startswith("blob ")}
    for sha in sorted(blobs):
        yield history.blob(sha)
    present = history.git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in present:
        if LOCKS.search(name) and Path(name).is_file():
            yield Path(name).read_text(encoding="utf-8", errors="replace")


def _listing(store: Store, md5: str) -> list[str] | None:
    """The md5 of a directory's files, by the cache or the storage; None where neither has a true listing."""
    try:
        return list(history.listing(history.cached(md5).read_bytes(), md5).values())
    except (FileNotFoundError, UserError):
        pass
    payload = store.read_optional(f"{store.remote.prefix}/{history.key_of(md5)}", MAX_LISTING_BYTES)
    return None if payload is None else list(history.listing(payload, md5).values())


def _wanted_runs(store: Store, runs: set[str], md5: frozenset[str]) -> set[str]:
    """Run cache entries whose outs are all named: they save a commit's stages from running again."""

    def is_wanted(key: str) -> bool:
        payload = store.read_optional(f"{store.remote.prefix}/{key}") or b""
        outs = payload.decode("utf-8", errors="replace").partition("outs:")[2]
        found = history.MD5.findall(outs)
        return bool(found) and set(found) <= md5

    ordered = sorted(runs)
    with ThreadPoolExecutor(THREADS) as pool:
        return {key for key, wanted in zip(ordered, pool.map(is_wanted, ordered), strict=True) if wanted}


def lines_of(found: Collection, shown: int = 20) -> list[str]:
    """The collection in words."""
    size = sum(item.bytes for item in found.garbage)
    lines = [f"{item.bytes:>14,}  {item.key}  ({item.why})" for item in found.garbage[:shown]]
    if len(found.garbage) > shown:
        lines.append(f"and {len(found.garbage) - shown:,} more")
    lines.append(f"named by nothing: {len(found.garbage):,} objects, {size / 1e6:.1f} MB")
    kept = f"{found.kept:,} objects, {found.kept_bytes / 1e6:.1f} MB"
    lines.append(f"stay: {kept}, of which {found.young:,} for their age alone")
    for upload in found.uploads[:shown]:
        lines.append(f"abandoned upload of {upload.key}, begun {upload.begun:%Y-%m-%d %H:%M}")
    if found.uploads or found.young_uploads:
        lines.append(
            f"uploads in parts that did not end: {len(found.uploads)} abandoned, {found.young_uploads} younger"
        )
    if found.unknown:
        lines.append(f"not ours, never touched: {len(found.unknown)} objects, the first is {found.unknown[0]}")
    if found.unlisted:
        lines.append(
            f"neither cached nor stored: {len(found.unlisted)} directories that commits name (code, or not pushed)"
        )
    return lines
