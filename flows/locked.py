"""What a commit's lock files pin, and whether the present environment has it: requirements.lock by hash, torch.lock."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from pathlib import Path

LOCK, TORCH = "requirements.lock", "torch.lock"
SETUP = "scripts/setup.sh"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
FORMER = re.compile(r"\b(torch)==([0-9.]+)")
"""In the setup.sh of commits from before torch.lock."""


def pins(tree: Path) -> dict[str, str]:
    """{package: version} of a tree's lock files; of torch the version without a build's suffix."""
    return {**dict(PIN.findall(_text(tree / LOCK))), **_torch(tree)}


def key(tree: Path) -> str:
    """16 hex digits that name the environment of a tree's lock files."""
    both = f"{_text(tree / LOCK)}\0{_torch(tree).get('torch', '')}"
    return hashlib.sha256(both.encode()).hexdigest()[:16]


def not_as_locked(locked: dict[str, str]) -> dict[str, str]:
    """{package: what is wrong} of those that this interpreter has otherwise or not at all."""
    wrong = {}
    for package, version in sorted(locked.items()):
        try:
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            wrong[package] = f"locked {version}, not installed"
            continue
        if found.partition("+")[0] != version.partition("+")[0]:
            wrong[package] = f"locked {version}, installed {found}"
    return wrong


def _torch(tree: Path) -> dict[str, str]:
    if (tree / TORCH).is_file():
        return dict(PIN.findall(_text(tree / TORCH)))
    return dict(FORMER.findall(_text(tree / SETUP))[:1])


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
