"""`textgan storage check`: every stored object read again and hashed, and what is named but not there.

An object's name is the hash of its bytes: md5 where DVC put it, sha256 where a release did. Looked for are what the
present dvc.lock names, or with `--all-commits` that of any commit, the files of its directories too, and what every
release names.
"""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from flows import history
from flows.gc import DATA, MAX_LISTING_BYTES, OBJECT
from flows.releases import BLOCK, THREADS, Store
from flows.remote import Remote
from textgan.errors import UserError
from textgan.progress import Progress

SUBSET = re.compile(r"([1-9][0-9]*)/([1-9][0-9]*)")


@dataclass(slots=True)
class Report:
    """What a look at the storage found; keys are relative to the prefix."""

    objects: int = 0
    bytes: int = 0
    of_objects: int = 0
    wrong: dict[str, str] = field(default_factory=dict)
    """{key: what is wrong with it}, damaged and missing."""
    mended: list[str] = field(default_factory=list)


def parse_subset(text: str) -> tuple[int, int]:
    """`2/7` as (2, 7); empty as (1, 1). Raises UserError."""
    match = SUBSET.fullmatch(text or "1/1")
    if not match or int(match[1]) > int(match[2]):
        raise UserError(f"storage check: --subset is {text!r}; it must be N/M with 1 <= N <= M, e.g. 2/7")
    return int(match[1]), int(match[2])


def check(remote: Remote, subset: tuple[int, int] = (1, 1), mend: bool = False, all_commits: bool = False) -> Report:
    """Read and hash part N of M of the objects (all M parts are everything) and look for all that is named.

    With `all_commits`, also by the dvc.lock of every commit that git can reach. With `mend`, what DVC's cache here has
    with the right bytes is written again. Raises UserError where the storage cannot be read.
    """
    store = Store(remote)
    sizes = {key.removeprefix(f"{remote.prefix}/"): size for key, size, _ in store.listed(f"{remote.prefix}/")}
    hashed = sorted(key for key in sizes if DATA.fullmatch(key) or OBJECT.fullmatch(key))
    chosen = [key for key in hashed if int(_name(key)[:8], 16) % subset[1] == subset[0] - 1]
    report = Report(len(chosen), sum(sizes[key] for key in chosen), len(hashed))
    progress = Progress(len(chosen), "storage check", "objects")

    def look(key: str) -> tuple[str, str]:
        found = _digest(store, key)
        progress.update()
        return key, "" if found == _name(key) else f"damaged: its bytes have {found}"

    with ThreadPoolExecutor(THREADS) as pool:
        report.wrong |= {key: why for key, why in pool.map(look, chosen) if why}
    progress.close()
    for key, path in _named(store, report, all_commits).items():
        if key in report.wrong:
            report.wrong[key] += f" ({path})"
        elif key not in sizes:
            report.wrong[key] = f"missing: {path}"
    for key in sorted(report.wrong) if mend else []:
        if _mend(store, key):
            report.mended.append(key)
    return report


def lines_of(report: Report) -> list[str]:
    """The report in words, a line for each wrong object."""
    lines = [
        f"{key}: {why}{'; written again from the cache' if key in report.mended else ''}"
        for key, why in sorted(report.wrong.items())
    ]
    part = "" if report.objects == report.of_objects else f" of {report.of_objects:,}"
    return [*lines, f"read and hashed: {report.objects:,}{part} objects, {report.bytes / 1e6:.1f} MB"]


def stored_outs(root: Path) -> dict[str, str]:
    """{path: md5} of the outs that `dvc push` stores, as dvc.lock records them. Raises UserError where DVC refuses."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            outs = [out for stage in repo.index.stages for out in stage.outs if out.use_cache and out.can_push]
            return {str(out.def_path): str(out.hash_info.value) for out in outs if out.hash_info}
    except DvcException as error:
        raise UserError(f"dvc.yaml: {error}") from None


def committed_outs() -> dict[str, tuple[str, str]]:
    """{md5: (path, newest commit)} of the outs in every commit's dvc.lock, but for those that git itself has there."""
    locks = {commit.blob: commit.sha for commit in reversed(history.commits_with_lock())}
    outs = [
        (sha, out)
        for blob, sha in locks.items()
        for stage in history.parse_lock(history.blob(blob), f"{sha[:12]}:{history.LOCK_FILE}").values()
        for out in stage.outs
    ]
    asked = "".join(f"{sha}:{out.path}\n" for sha, out in outs)
    in_git = history.git("cat-file", "--batch-check=%(objectname)", stdin=asked).splitlines()
    return {
        out.md5: (out.path, sha[:12])
        for (sha, out), answer in zip(outs, in_git, strict=True)
        if answer.endswith(" missing")
    }


def _named(store: Store, report: Report, all_commits: bool) -> dict[str, str]:
    """{key: what names it}. An index that is none, and a listing that is none, go into the report."""
    present = stored_outs(Path()) if Path("dvc.yaml").exists() else {}
    outs = {md5: (path, "dvc.lock") for path, md5 in present.items()}
    if all_commits:
        older = committed_outs().items()
        outs = {md5: (path, f"dvc.lock of {sha}") for md5, (path, sha) in older} | outs
    named: dict[str, str] = {}
    directories = [md5 for md5 in outs if md5.endswith(history.DIRECTORY)]
    with ThreadPoolExecutor(THREADS) as pool:
        payloads = pool.map(
            lambda md5: store.read_optional(f"{store.remote.prefix}/{history.key_of(md5)}", MAX_LISTING_BYTES),
            directories,
        )
        listings = dict(zip(directories, payloads, strict=True))
    for md5, (path, source) in outs.items():
        key, payload = history.key_of(md5), listings.get(md5)
        named[key] = f"{path}, named by {source}"
        try:
            files = history.listing(payload, md5) if payload is not None else {}
        except UserError:
            report.wrong.setdefault(key, "damaged: not the listing that its name says")
            continue
        named |= {history.key_of(file): f"{path}/{relative}, named by {source}" for relative, file in files.items()}
    for name in store.names():
        try:
            index = store.need_index(name)[0]
        except UserError as error:
            report.wrong[f"releases/{name}.json"] = f"damaged: {error}"
            continue
        for each in index.files:
            named[f"sha256/{each.sha256[:2]}/{each.sha256}"] = f"{each.path} of release {name}"
    return named


def _mend(store: Store, key: str) -> bool:
    """Write an object of DVC's again from this clone's cache; True where it now has the right bytes."""
    if not DATA.fullmatch(key):
        return False
    place = history.cached(_name(key))
    if not place.is_file():
        return False
    payload = place.read_bytes()
    if hashlib.md5(payload, usedforsecurity=False).hexdigest() != _name(key).removesuffix(history.DIRECTORY):
        return False
    store.put_over(f"{store.remote.prefix}/{key}", payload, hashlib.sha256(payload).hexdigest())
    return _digest(store, key) == _name(key)


def _digest(store: Store, key: str) -> str:
    """The hash of a stored object's bytes, of the kind and in the form of its name."""
    digest = hashlib.sha256() if OBJECT.fullmatch(key) else hashlib.md5(usedforsecurity=False)
    full = f"{store.remote.prefix}/{key}"
    with store.telling(full):
        for block in store.s3.get_object(Bucket=store.remote.bucket, Key=full)["Body"].iter_chunks(BLOCK):
            digest.update(block)
    return digest.hexdigest() + (history.DIRECTORY if key.endswith(history.DIRECTORY) else "")


def _name(key: str) -> str:
    """The hash that a key states."""
    return "".join(key.split("/")[-2:]) if DATA.fullmatch(key) else key.rpartition("/")[2]
