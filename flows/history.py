"""What the dvc.lock of this tree and of every commit records: stages, their deps, parameters and outs, by hash."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from textgan.errors import UserError

LOCK_FILE = Path("dvc.lock")
MD5 = re.compile(r"\bmd5: ['\"]?([0-9a-f]{32}(?:\.dir)?)\b")
DIRECTORY = ".dir"
"""DVC's suffix of a hash that names a listing (JSON: md5 and relpath of each file) and not a file."""


MAX_PRESENT = 10_000
"""Uncached directories with more files are not hashed again: only small ones are kept out of the cache."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A dep or an out as dvc.lock records it."""

    path: str
    md5: str
    size: int
    nfiles: int = 1


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One stage of a dvc.lock."""

    name: str
    cmd: str
    deps: tuple[Entry, ...]
    outs: tuple[Entry, ...]
    params: dict[str, Any]
    """{key: value}, of all parameter files."""

    def same_outs(self, other: StageRecord | None) -> bool:
        """Whether both made the same bytes."""
        return other is not None and {(out.path, out.md5) for out in self.outs} == {(o.path, o.md5) for o in other.outs}


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that has a dvc.lock; `blob` is the lock's git hash."""

    sha: str
    date: str
    subject: str
    blob: str


def git(*arguments: str, stdin: str | None = None) -> str:
    """Output of a git command in the present directory. Raises UserError with git's own words."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, input=None if stdin is None else stdin.encode())
    except FileNotFoundError:
        raise UserError("git is not installed; releases and lineage read the history") from None
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"git {arguments[0]}: {words[-1] if words else f'exit {done.returncode}'}")
    return done.stdout.decode(errors="replace")


def load_yaml(text: str | bytes) -> Any:
    """What a YAML text says. Both loaders are safe ones; the first is the fast one."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # nosec B506


def committed_text(root: Path) -> bytes:
    """HEAD's dvc.lock of the checkout at `root`; empty where there is no git, no commit or no lock in it."""
    try:
        shown = subprocess.run(["git", "show", f"HEAD:./{LOCK_FILE}"], cwd=root, capture_output=True)
    except FileNotFoundError:
        return b""
    return shown.stdout if shown.returncode == 0 else b""


def parse_lock(text: str, source: str = str(LOCK_FILE)) -> dict[str, StageRecord]:
    """The stages of a dvc.lock's text. Raises UserError where it is none."""
    try:
        value = load_yaml(text) or {}
        stages = {}
        for name, entry in (value.get("stages") or {}).items():
            params = {key: kept for file in (entry.get("params") or {}).values() for key, kept in file.items()}
            deps, outs = (tuple(_entry(item) for item in entry.get(kind) or []) for kind in ("deps", "outs"))
            cmd = entry.get("cmd", "")
            stages[name] = StageRecord(name, " && ".join(cmd) if isinstance(cmd, list) else cmd, deps, outs, params)
        return stages
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{source}: not a dvc.lock: {' '.join(str(error).split())}") from None


def present_lock(root: Path = Path()) -> dict[str, StageRecord]:
    """The stages of a tree's dvc.lock."""
    try:
        return parse_lock((root / LOCK_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{LOCK_FILE}: no such file; `make repro` runs the graph and writes it") from None


def commits_with_lock() -> list[Commit]:
    """Every commit of any branch, tag or worktree whose tree has a dvc.lock, newest first."""
    listed = git("log", "--all", "--date-order", "--format=%H%x00%cI%x00%s")
    rows = [line.split("\0") for line in listed.splitlines() if line.count("\0") == 2]
    asked = "".join(f"{sha}:{LOCK_FILE}\n" for sha, _, _ in rows)
    blobs = git("cat-file", "--batch-check=%(objecttype) %(objectname)", stdin=asked).splitlines()
    found = [(row, blob.split()) for row, blob in zip(rows, blobs, strict=True)]
    return [Commit(row[0], row[1], row[2], blob[1]) for row, blob in found if blob[0] == "blob"]


def blob(name: str) -> str:
    """The text of a git blob."""
    return git("cat-file", "blob", name)


def md5_at(commit: str, path: str) -> str | None:
    """The md5 that DVC gives a file, or a directory, of a commit; None where the commit has no such path."""
    try:
        kind = git("cat-file", "-t", f"{commit}:{path}").strip()
    except UserError:
        return None
    if kind == "blob":
        return _md5(_raw(f"{commit}:{path}"))
    names = git("ls-tree", "-r", "-z", "--name-only", f"{commit}:{path}").split("\0")[:-1]
    return _directory_md5({name: _md5(_raw(f"{commit}:{path}/{name}")) for name in names})


def _directory_md5(files: dict[str, str]) -> str:
    """The hash that DVC gives a directory of {relative path: md5}."""
    items = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return _md5(json.dumps(items, sort_keys=True).encode()) + DIRECTORY


def _raw(name: str) -> bytes:
    """The bytes of a git object that is known to exist."""
    return subprocess.run(["git", "cat-file", "blob", name], capture_output=True, check=True).stdout


def _md5(payload: bytes) -> str:
    return hashlib.md5(payload, usedforsecurity=False).hexdigest()


def cache_dir(root: Path = Path()) -> Path:
    """DVC's cache of a clone, as its .dvc/config and .dvc/config.local say."""
    from configobj import ConfigObj

    place = root / ".dvc" / "cache"
    for name in ("config", "config.local"):
        file = root / ".dvc" / name
        if file.exists():
            section = ConfigObj(str(file), interpolation=False, encoding="utf-8").get("cache", {})
            if "dir" in section:
                place = root / ".dvc" / Path(section["dir"]).expanduser()
    return place


def cached(md5: str, cache: Path | None = None) -> Path:
    """Where a cache, of this clone where none is given, keeps an object."""
    return (cache or cache_dir()) / "files" / "md5" / md5[:2] / md5[2:]


def key_of(md5: str) -> str:
    """Where the storage keeps an object, below its prefix."""
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def listing(payload: bytes, md5: str) -> dict[str, str]:
    """{relative path: md5} of a directory object. Raises UserError where the bytes are not those that md5 names."""
    if hashlib.md5(payload, usedforsecurity=False).hexdigest() != md5.removesuffix(DIRECTORY):
        raise UserError(f"{md5}: the listing of this directory is damaged; its bytes do not have that md5")
    return {item["relpath"]: item["md5"] for item in json.loads(payload)}


def files_of(out: Entry) -> dict[str, str]:
    """{path: md5} of the files of an out: a directory's by its listing in the cache, else by what lies there.

    DVC keeps no listing of an out with `cache: false`. Raises UserError where neither gives the recorded hash.
    """
    if not out.md5.endswith(DIRECTORY):
        return {out.path: out.md5}
    if cached(out.md5).is_file():
        files = listing(cached(out.md5).read_bytes(), out.md5)
    else:
        place = Path(out.path)
        present = sorted(path for path in place.rglob("*") if path.is_file()) if out.nfiles <= MAX_PRESENT else []
        files = {path.relative_to(place).as_posix(): _md5(path.read_bytes()) for path in present}
        if _directory_md5(files) != out.md5:
            raise UserError(f"{out.path}: not the directory {out.md5} that dvc.lock records; `dvc pull` brings it")
    return {f"{out.path}/{relative}": md5 for relative, md5 in files.items()}


def _entry(item: dict[str, Any]) -> Entry:
    md5 = item.get("md5") or item.get("hash") or ""
    return Entry(item["path"], md5, int(item.get("size") or 0), int(item.get("nfiles") or 1))
