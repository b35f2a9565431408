"""Where dvc.lock, the present one or a commit's, records a file: by its path or by a hash of its bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flows import history
from flows.history import Commit, Entry, StageRecord
from flows.listings import Listings
from textgan.errors import UserError
from textgan.files import sha256_file
from textgan.report.assemble import CONTENT, INDEX

EXPORTS = "data/exports/"
HASH = re.compile(r"[0-9a-f]{8,64}(\.dir)?")
"""An md5 or sha256, or its beginning."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file as one dvc.lock records it: the out that holds it, and the stage that made that."""

    path: str
    md5: str
    out: Entry
    stage: StageRecord
    commit: Commit | None
    """The commit whose lock this is; None for the present, uncommitted one."""
    lock: dict[str, StageRecord]
    newest: dict[str, StageRecord]
    """The newest lock with the same outs: what it names besides is more likely to be here."""


def find(what: str, listings: Listings) -> tuple[Made, int]:
    """The newest record of a path or hash, and how many further commits have the same."""
    places: list[tuple[Commit | None, dict[str, StageRecord]]] = []
    if history.LOCK_FILE.is_file():
        places.append((None, history.present_lock()))
    parsed: dict[str, dict[str, StageRecord]] = {}
    for commit in history.commits_with_lock():
        if commit.blob not in parsed:
            parsed[commit.blob] = history.parse_lock(history.blob(commit.blob), f"{commit.sha[:12]}:dvc.lock")
        places.append((commit, parsed[commit.blob]))
    found = _first(what, places, listings)
    if found is None:
        raise UserError(f"lineage: {what}: {_why_not(what, [lock for _, lock in places], listings)}")
    same = [commit for commit, lock in places if commit and found.stage.same_outs(lock.get(found.stage.name))]
    if not same:
        return found, 0
    oldest = same[-1]  # made these bytes; those after it kept them
    lock = parsed[oldest.blob]
    stage = lock[found.stage.name]
    return Made(found.path, found.md5, found.out, stage, oldest, lock, found.lock), len(same) - 1


def _first(what: str, places: list[tuple[Commit | None, dict[str, StageRecord]]], listings: Listings) -> Made | None:
    """The newest record of what is meant. All listings are asked for only where those that are here lack a hash."""
    hashes = []
    for kind, text in _candidates(what, listings):
        for place in places:
            if made := _look((kind, text), *place, listings, ask=kind == "path"):
                return made
        hashes += [text] if kind == "hash" else []
    if hashes:
        directories = _directories([lock for _, lock in places])
        listings.bring(out.md5 for out in directories if listings.files(out, ask=False) is None)
    looked = (_look(("hash", text), *place, listings, ask=False) for text in hashes for place in places)
    return next((made for made in looked if made is not None), None)


def _why_not(what: str, locks: list[dict[str, StageRecord]], listings: Listings) -> str:
    """Why nothing was found: it may be in a directory whose listing cannot be had."""
    unlisted = {out.path for out in _directories(locks) if listings.files(out, ask=False) is None}
    lacking = "neither here nor in the storage"
    if within := sorted(path for path in unlisted if is_within(what, path)):
        return f"it may be in {within[0]}, whose listing is {lacking}; `textgan storage pull` brings it"
    unseen = ""
    if HASH.fullmatch(what.lower()):
        if unlisted:
            unseen = f"; the listings of {len(unlisted)} directories are {lacking}, {min(unlisted)} first"
        unseen += "; of a sha256 only files that are here are known, `textgan storage pull` brings them"
    return f"none of the {len(locks)} dvc.lock files of this tree and its history has it{unseen}"


def _directories(locks: list[dict[str, StageRecord]]) -> set[Entry]:
    """The directories among all outs."""
    return {
        out for lock in locks for stage in lock.values() for out in stage.outs if out.md5.endswith(history.DIRECTORY)
    }


def _candidates(what: str, listings: Listings) -> Iterator[tuple[str, str]]:
    """What is meant: ('path', relative path) or ('hash', md5 prefix); a sha256 becomes a path of this tree."""
    path, text = Path(what), what.lower()
    if HASH.fullmatch(text) and not path.exists():
        if len(text.removesuffix(history.DIRECTORY)) <= 32:
            yield "hash", text
        if place := _by_sha256(text, listings):
            yield "path", place
        return
    absolute = Path.cwd() / path
    if not absolute.is_relative_to(Path.cwd()) or ".." in path.parts:
        raise UserError(f"lineage: {what}: not in this repository, {Path.cwd()}")
    asked = absolute.relative_to(Path.cwd())
    yield "path", (CONTENT if asked == INDEX else asked).as_posix()


def _by_sha256(text: str, listings: Listings) -> str:
    """Path of the file in this tree whose sha256 begins so: as manifests state it, else read; empty where none has."""
    if INDEX.is_file() and sha256_file(INDEX).startswith(text):
        return CONTENT.as_posix()
    unstated = []
    for stage in history.present_lock().values() if history.LOCK_FILE.is_file() else ():
        for out in stage.outs:
            stated = _stated(Path(out.path) / "manifest.json")
            for path, sha256 in stated.items():
                if sha256.startswith(text):
                    return path
            if not out.path.startswith(EXPORTS):
                unstated += [path for path in listings.files(out, ask=False) or () if path not in stated]
    for name in sorted(unstated):
        if Path(name).is_file() and sha256_file(Path(name)).startswith(text):
            return name
    return ""


def _stated(manifest: Path) -> dict[str, str]:
    """{path: sha256} of the shards that a manifest lists; reading all of LSUN would take minutes."""
    if not manifest.is_file():
        return {}
    splits = json.loads(manifest.read_text(encoding="utf-8")).get("splits", {})
    shards = [shard for part in splits.values() for shard in part.get("shards", [])]
    return {f"{manifest.parent.as_posix()}/{shard['name']}": shard.get("sha256", "") for shard in shards}


def _look(
    wanted: tuple[str, str], commit: Commit | None, lock: dict[str, StageRecord], listings: Listings, ask: bool
) -> Made | None:
    """The out of one lock that is, or holds, what is looked for."""
    kind, text = wanted
    for stage in lock.values():
        for out in stage.outs:
            if (kind == "path" and out.path == text) or (kind == "hash" and out.md5.startswith(text)):
                return Made(out.path, out.md5, out, stage, commit, lock, lock)
            if not out.md5.endswith(history.DIRECTORY) or (kind == "path" and not is_within(text, out.path)):
                continue
            for path, md5 in (listings.files(out, ask) or {}).items():
                if (kind == "path" and path == text) or (kind == "hash" and md5.startswith(text)):
                    return Made(path, md5, out, stage, commit, lock, lock)
    return None


def is_within(path: str, directory: str) -> bool:
    """Whether a path is a directory or in it."""
    return path == directory or path.startswith(f"{directory}/")
