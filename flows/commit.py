"""A commit as a place on disk: a worktree with its own DVC cache, and the environment of its own lock file."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from flows import locked
from flows.locked import LOCK
from flows.recorded import NotVerifiable
from flows.remote import Remote, write_dvc_config
from textgan.errors import UserError
from textgan.files import STATE

SHORT = re.compile(r"[0-9a-f]{4,64}")
"""What may be an abbreviated hash."""


def resolve(revision: str) -> str:
    """The full hash of a commit. Raises UserError where this clone does not have it, or has more than one."""
    found = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if found.returncode == 0:
        return found.stdout.strip()
    named = _git("rev-parse", f"--disambiguate={revision}").stdout.split() if SHORT.fullmatch(revision) else []
    kinds = {sha: _git("cat-file", "-t", sha).stdout.strip() for sha in named}
    commits = [sha[:12] for sha, kind in kinds.items() if kind == "commit"]
    if len(commits) > 1:
        raise UserError(f"commit {revision!r}: ambiguous, it begins {' and '.join(commits)}; give more digits")
    if kinds:
        raise UserError(f"commit {revision!r}: no commit begins so, only a {next(iter(kinds.values()))}")
    if _git("rev-parse", "--is-shallow-repository").stdout.strip() == "true":
        raise UserError(f"commit {revision!r}: not in this shallow clone; `git fetch --unshallow` brings the rest")
    raise UserError(f"commit {revision!r}: not in this clone; `git fetch` may bring it")


def file_at(sha: str, path: str) -> str | None:
    """The text of a file at a commit, or None."""
    shown = _git("show", f"{sha}:{path}")
    return shown.stdout if shown.returncode == 0 else None


def check_verifiable(sha: str) -> None:
    """Raise NotVerifiable where the commit has no graph, or a graph that was never run."""
    for path in ("dvc.yaml", "params.yaml", LOCK):
        if file_at(sha, path) is None:
            raise NotVerifiable(f"the commit has no {path}: it is from before the present layout")
    if file_at(sha, "dvc.lock") is None:
        raise NotVerifiable("the commit has no dvc.lock: nobody recorded a result there")


def check_keep(place: Path) -> None:
    """Make the directory where a worktree is to stay. Raises UserError where there can be none, or it holds a file."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        empty = not any(place.iterdir())
    except OSError as error:
        why = "not a directory" if isinstance(error, FileExistsError) else str(error.strerror)
        raise UserError(f"--keep {place}: {why}") from None
    if not empty:
        raise UserError(f"--keep {place}: the directory is not empty")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"--keep {place}: nothing can be written there")


@contextlib.contextmanager
def worktree(sha: str, keep: Path | None) -> Iterator[Path]:
    """A detached worktree of the commit; removed afterwards unless `keep` says where it stays."""
    place = (keep or STATE / "reproduce" / f"{sha[:12]}-{os.getpid()}").resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned()
    whole = False
    try:
        # no hook of the user's runs: one that fails would leave a worktree that nobody wanted
        added = _git("-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", str(place), sha)
        if added.returncode != 0:
            raise NotVerifiable(f"git worktree add {place}: {' '.join(added.stderr.split())[-300:]}")
        whole = True
        yield place
    finally:
        if keep is None or not whole:
            _git("worktree", "remove", "--force", str(place))
            shutil.rmtree(place, ignore_errors=True)
        else:
            write_dvc_config(None, place)  # keys do not stay in a directory that is passed on


def _remove_abandoned() -> None:
    """Worktrees whose process was killed before it could remove them: an export drawn again takes gigabytes."""
    for left in (STATE / "reproduce").glob("*-*"):
        owner = left.name.rpartition("-")[2]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    _git("worktree", "prune")


def connect(tree: Path, remote: Remote) -> None:
    """Let the worktree's DVC use this clone's storage; its cache is its own and empty: nothing is taken on trust."""
    write_dvc_config(remote, tree)


def python_of(tree: Path) -> Path:
    """The interpreter of an environment made from the commit's own lock files.

    The present one where they are the same and it has what they say; else one in `.state/environments/<their hash>`,
    made once.
    """
    wanted, why = locked.key(tree), f"another {LOCK} or torch than the present one"
    if Path(LOCK).exists() and locked.key(Path()) == wanted:
        other = locked.not_as_locked(locked.pins(tree))
        if not other:
            return Path(sys.executable)
        package = min(other)
        why = f"the present one is not as locked: {package} ({other[package]}){', ...' if len(other) > 1 else ''}"
    place = (STATE / "environments" / wanted).resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.parent / f"{place.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two reproductions of one commit: one builds, the other waits
        if not (place / "complete").exists():
            _build_environment(tree, place, why)
    return place / ".venv" / "bin" / "python"


def _build_environment(tree: Path, place: Path, why: str) -> None:
    """Run the commit's own setup.sh on the commit's locks, at `place`. Raises NotVerifiable where it fails."""
    what = f"Building the environment of the commit's {LOCK} ({why})"
    print(f"{what}: minutes and some 2 GB, once for this lock, in {place}", flush=True)
    shutil.rmtree(place, ignore_errors=True)
    (place / "scripts").mkdir(parents=True)
    for name in (LOCK, locked.TORCH, "pyproject.toml", "README.md", locked.SETUP):
        if not (tree / name).exists():
            if name == locked.TORCH:  # older commits have its line in setup.sh
                continue
            raise NotVerifiable(f"the commit has no {name}: its environment cannot be made")
        shutil.copy(tree / name, place / name)
    for package in ("textgan", "pipeline", "flows"):  # the editable install needs a place; PYTHONPATH wins over it
        (place / package).mkdir()
    made = subprocess.run(["sh", "scripts/setup.sh", LOCK], cwd=place)
    if made.returncode != 0:
        raise NotVerifiable(f"the environment of {LOCK} at the commit cannot be built (exit {made.returncode})")
    (place / "complete").touch()


def stage_names(tree: Path, python: Path, environment: dict[str, str]) -> list[str]:
    """The stages of a worktree's dvc.yaml, as its own DVC reads it. Raises NotVerifiable where that cannot."""
    command = [str(python), "-m", "dvc", "stage", "list", "--name-only"]
    listed = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if listed.returncode != 0:
        raise NotVerifiable(f"dvc.yaml cannot be read: {' '.join(listed.stderr.split())[-300:]}")
    return listed.stdout.splitlines()


def stale_stages(
    tree: Path, python: Path, environment: dict[str, str], stages: list[str], made: Sequence[str] = ()
) -> dict[str, str]:
    """{stage: why} of those whose recorded code, command or parameters are not the worktree's. Raises NotVerifiable.

    `made`: outs that need not be here, and of which nothing is said: a run was to make them.
    """
    command = [str(python), "-m", "dvc", "status", "--json", *stages]
    shown = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    try:
        status = json.loads(shown.stdout)
    except ValueError:
        raise NotVerifiable(f"dvc status in the worktree: {shown.stderr.strip()[-300:]}") from None
    return {stage: reason for stage, entries in status.items() if (reason := _why_stale(entries, made))}


def _why_stale(entries: list[Any], made: Sequence[str]) -> str:
    """The first changed dependency that is code or parameters, in words; raw exports need not be here.

    An out counts where dvc.lock does not record it; the bytes of those that it records are hashed by our own code.
    """
    for entry in entries:
        if not isinstance(entry, dict):
            if entry == "changed command":
                return "dvc.lock records another command than dvc.yaml has"
            continue
        for path, how in entry.get("changed deps", {}).items():
            if path.startswith("data/exports/") and how == "deleted":
                continue
            if any(Path(out).is_relative_to(path) or Path(path).is_relative_to(out) for out in made):
                continue
            if isinstance(how, dict):
                keys = ", ".join(f"{key} ({state})" for key, state in how.items())
                return f"{path} at the commit is not what dvc.lock recorded: {keys}"
            return f"{path} at the commit is not what dvc.lock recorded ({how})"
        for path, how in entry.get("changed outs", {}).items():
            if path in made:
                continue
            return f"{path} is an out of dvc.yaml and not what dvc.lock recorded ({how})"
    return ""


def changed_params(recorded: dict[str, Any], params: dict[str, Any]) -> str:
    """The first parameter that is not what dvc.lock recorded, with both values; empty where there is none.

    `recorded`: {dotted key: value}, as dvc.lock has them; `params`: the whole parsed params.yaml.
    """
    for key, before in recorded.items():
        now: Any = params
        for part in key.split("."):
            now = now.get(part) if isinstance(now, dict) else None
        if now != before:
            return _first_difference(key, before, now)
    return ""


def _first_difference(key: str, before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        name = min(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        return _first_difference(f"{key}.{name}", before.get(name), now.get(name))
    return f"{key} is {now!r}, dvc.lock recorded {before!r}"


def dvc_hash(path: Path) -> tuple[str, int]:
    """DVC's own hash of a file or directory, computed without DVC, and its size in bytes.

    A directory's is the md5 of its sorted list of md5 and relative path, as JSON, with `.dir` behind it.
    """
    if not path.is_dir():
        with open(path, "rb") as opened:
            digest = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False))
        return digest.hexdigest(), path.stat().st_size
    files = sorted(
        (file for file in path.rglob("*") if file.is_file()), key=lambda file: file.relative_to(path).as_posix()
    )
    entries, total = [], 0
    for file in files:
        md5, size = dvc_hash(file)
        entries.append({"md5": md5, "relpath": file.relative_to(path).as_posix()})
        total += size
    listing = json.dumps(entries, sort_keys=True).encode()
    return hashlib.md5(listing, usedforsecurity=False).hexdigest() + ".dir", total


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A git command that takes a hash for what it names, whatever `git replace` puts in its place."""
    plain = {**os.environ, "GIT_NO_REPLACE_OBJECTS": "1"}
    return subprocess.run(["git", *arguments], capture_output=True, text=True, env=plain)
