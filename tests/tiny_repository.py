"""A git and DVC repository of three stages in a row for each of two datasets, made of a few bytes and no torch."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from flows import seaweed, storage

REPOSITORY = Path(__file__).parents[1]

DVC_YAML = """\
stages:
  first:
    foreach: ${datasets}
    do:
      cmd: python work.py out/first-${key} params.yaml
      params:
        - draw.${key}.seed
      outs:
        - out/first-${key}
      meta: {pool: cpu, timeout_seconds: 60}
  middle:
    foreach: ${datasets}
    do:
      cmd: python work.py out/middle-${key} out/first-${key}
      deps:
        - out/first-${key}
        - work.py
      outs:
        - out/middle-${key}
      meta: {pool: gpu, timeout_seconds: 60}
  evaluate:
    foreach: ${datasets}
    do:
      cmd: python work.py metrics/${key}.json out/middle-${key}
      deps:
        - out/middle-${key}
      metrics:
        - metrics/${key}.json:
            cache: false
      meta: {pool: cpu, timeout_seconds: 60}
"""
WORK = """\
import hashlib, json, os, sys, time
from pathlib import Path
out, source = map(Path, sys.argv[1:])
out.parent.mkdir(exist_ok=True)
with open("pids", "a") as file:
    file.write(f"{os.getpid()} {out}\\n")
if Path("fail").exists() and Path("fail").read_text() in str(out):
    sys.exit("error: work.py was told to fail")
if Path("slow").exists() and Path("slow").read_text() in str(out):
    time.sleep(600)
text = "".join(file.read_text() for file in sorted(source.rglob("*")) if file.is_file()) or (
    source.read_text() if source.is_file() else "")
digest = hashlib.sha256(f"{out}{text}".encode()).hexdigest()
if out.suffix == ".json":
    out.write_text(json.dumps({"metrics": {"score": int(digest[:4], 16)}}))
else:
    out.mkdir()
    (out / "result.txt").write_text(digest)
    (out / "more").mkdir()
    (out / "more" / "first.txt").write_text(digest[::-1])
"""


def params() -> dict[str, Any]:
    """Complete parameters of two datasets, one and two, both said to be drawn (seeds 1 and 2)."""
    sample = yaml.safe_load((REPOSITORY / "presets" / "sample.yaml").read_text(encoding="utf-8"))
    [dataset] = sample["datasets"].values()
    draw = {"one": {"images": 1, "seed": 1}, "two": {"images": 1, "seed": 2}}
    return {"preset": "tiny", "draw": draw, "datasets": {name: copy.deepcopy(dataset) for name in draw}}


def make(place: Path) -> Path:
    """The repository, committed, nothing of it run."""
    place.mkdir(parents=True)
    (place / ".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        shutil.copy(REPOSITORY / name, place / name)
    (place / "dvc.yaml").write_text(DVC_YAML, encoding="utf-8")
    (place / "params.yaml").write_text(yaml.safe_dump(params()), encoding="utf-8")
    (place / "work.py").write_text(WORK, encoding="utf-8")
    (place / "requirements.lock").write_text("# empty\n", encoding="utf-8")
    (place / ".gitignore").write_text("/out\n.state\n/runs\n/pids\n/slow\n/fail\n", encoding="utf-8")
    git(place, "init", "-q", "-b", "main")
    commit(place, "the graph")
    return place


def commit(place: Path, message: str) -> str:
    """Commit everything; the commit's hash."""
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", message)
    return git(place, "rev-parse", "HEAD")


def git(place: Path, *arguments: str) -> str:
    """A git command that depends on nobody's configuration."""
    settings = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *settings, *arguments], cwd=place, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def textgan(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line, run in the repository."""
    command = [sys.executable, "-m", "textgan.cli", *arguments]
    return subprocess.run(command, cwd=place, env={**os.environ, **environment}, capture_output=True, text=True)


@contextlib.contextmanager
def with_result(place: Path) -> Iterator[tuple[Path, str]]:
    """A repository whose result is committed and pushed to its own running storage, and that commit."""
    make(place)
    try:
        done = textgan(place, "repro")
        assert done.returncode == 0, done.stdout + done.stderr
        yield place, commit(place, "the result")
    finally:
        with contextlib.chdir(place):
            seaweed.stop(storage.PLACE)


def attached(first: Path, place: Path) -> Path:
    """A clone of a repository, attached to its storage."""
    git(first, "clone", "-q", str(first), str(place))
    done = textgan(place, "storage", "attach", str(first))
    assert done.returncode == 0, done.stdout + done.stderr
    return place
