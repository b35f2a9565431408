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
    try:
        text = (tree / name).read_text(encoding="utf-8", errors="replace")
    except OSError as error:  # a link to nothing, a directory
        raise NotVerifiable(f"{name} at the commit cannot be read: {error.strerror}") from None
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
    """{stage: entry} of the worktree's dvc.lock. Raises NotVerifiable where an entry is no record of a stage.

    What is made again is removed first, by these paths: none may lie outside the worktree.
    """
    stages = mapping(read_yaml(tree, "dvc.lock"), "stages")
    for name, entry in stages.items():
        for kind in ("deps", "outs"):
            items = entry.get(kind, []) if isinstance(entry, dict) else None
            if not isinstance(items, list) or not all(map(_is_record, items)):
                raise NotVerifiable(f"dvc.lock at the commit: {kind} of {name} lack a path or an md5")
        params = entry.get("params", {})
        if not isinstance(params, dict) or not all(isinstance(values, dict) for values in params.values()):
            raise NotVerifiable(f"dvc.lock at the commit: params of {name} are no keys and values")
        for out in entry.get("outs", []):
            if not _lies_within(tree, out["path"]):
                raise NotVerifiable(
                    f"dvc.lock at the commit: {name} has an out outside of the repository: {out['path']}"
                )
    return stages


def _is_record(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("path"), str) and isinstance(item.get("md5"), str)


def _lies_within(tree: Path, path: str) -> bool:
    """A link in place of the file itself may point anywhere (DVC's cache does); none above it may."""
    root = tree.resolve()
    parent = (root / path).parent.resolve()
    return ".." not in Path(path).parts and parent.is_relative_to(root) and (root / path) != root


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
