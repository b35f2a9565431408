"""What a run commits and tags where it is told to: dvc.lock and what git itself keeps of the result."""

from __future__ import annotations

import subprocess

from flows import ROOT
from flows import dvc_program as dvc
from flows.environment import RECORD
from flows.repro import committed_lock
from textgan.errors import UserError

COMMITTED = ("dvc.lock", "metrics", "params.yaml", str(RECORD))


def is_committed(path: str) -> bool:
    """Whether a run's commit takes this path along."""
    return any(path == one or path.startswith(f"{one}/") for one in COMMITTED)


def commit_lock(say: dvc.Say) -> None:
    """Commit dvc.lock, params.yaml and git-tracked metrics where they changed; other changes stay out of it.

    Raises UserError with git's own words where it refuses (no name and e-mail of the committer, a hook).
    """
    paths = [path for path in COMMITTED if (ROOT / path).exists()]
    if not _git("status", "--porcelain", "--", *paths).strip():
        say("nothing to commit")
        return
    before = committed_lock()
    after = dvc.lock_outs((ROOT / "dvc.lock").read_text(encoding="utf-8"))
    changed = sorted(name for name in after if after[name] != before.get(name))
    _git("add", "--", *paths)
    message = f"Pipeline run: {', '.join(changed) or 'no output changed'}"
    _git("commit", "-q", "-m", message, "--", *paths)
    say(message)


def check_tag(tag: str) -> None:
    """Refuse before anything runs a name that git would refuse after it, or that a commit has already."""
    command = ["git", "check-ref-format", f"refs/tags/{tag}"]
    if tag.startswith("-") or subprocess.run(command, cwd=ROOT, capture_output=True).returncode != 0:
        raise UserError(f"tag is {tag!r}; it must be a name that git takes for a tag")
    if _git("tag", "--list", tag).strip():
        raise UserError(f"tag {tag}: a commit has it already, and tags stay where they are")


def tag_commit(tag: str, say: dvc.Say) -> None:
    """Give HEAD the tag."""
    _git("tag", "-m", f"Pipeline run {tag}", tag)
    say(f"tagged {tag}")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise UserError(f"git {arguments[0]}: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout
