"""What a commit's files say of its result, read as a stranger's: dvc.lock, params.yaml, dvc.yaml, metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from flows.history import load_yaml

MERGE = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)


class NotVerifiable(Exception):
    """The commit holds nothing that could be compared; the text says why."""


def read_yaml(tree: Path, name: str) -> dict[str, Any]:
    """A mapping of the worktree. Raises NotVerifiable where the file is none: what it says cannot be known."""
    text = (tree / name).read_text(encoding="utf-8", errors="replace")
    if MERGE.search(text):
        raise NotVerifiable(f"{name} at the commit has the marks of a merge that nobody finished")
    try:
        value = load_yaml(text)
    except yaml.YAMLError as error:
        raise NotVerifiable(f"{name} at the commit cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(value, dict):
        raise NotVerifiable(f"{name} at the commit holds no keys and values")
    return value


def read_lock(tree: Path) -> dict[str, Any]:
    """{stage: entry} of the worktree's dvc.lock. Raises NotVerifiable where an entry lacks what is compared."""
    stages = mapping(read_yaml(tree, "dvc.lock"), "stages")
    for name, entry in stages.items():
        for kind in ("deps", "outs"):
            items = entry.get(kind, []) if isinstance(entry, dict) else None
            whole = isinstance(items, list) and all(isinstance(i, dict) and {"path", "md5"} <= i.keys() for i in items)
            if not whole:
                raise NotVerifiable(f"dvc.lock at the commit: {kind} of {name} lack a path or an md5")
    return stages


def frozen_stages(tree: Path) -> set[str]:
    """Names, before any `@`, of the stages that dvc.yaml freezes: DVC neither runs them nor looks at what they read."""
    stages = mapping(read_yaml(tree, "dvc.yaml"), "stages")
    return {name for name in stages if {**mapping(stages, name), **mapping(stages[name], "do")}.get("frozen")}


def read_metrics(path: Path) -> dict[str, Any]:
    """{metric: value} of a file that evaluate or report wrote; empty where there is none. Raises NotVerifiable."""
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise NotVerifiable(f"{path.parent.name}/{path.name} is no JSON: {error}") from None
    return mapping(value, "metrics")


def mapping(value: Any, key: str) -> dict[str, Any]:
    """What a mapping has under a key, where it is a mapping; else an empty one."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}
