"""Which stages may have other bytes on an unlike machine: those that compute with floats, and what reads from them."""

from __future__ import annotations

from typing import Any

from flows import recorded

FLOATS = ("captions", "train", "matcher", "evaluate", "report")
"""Stages whose floats another processor may round otherwise, as it may the sentence vectors of pairs with embeddings;
all others have the same bytes on every machine."""
OTHER_BYTES = "other bytes on another machine (recorded / here: "


def excused(other: set[str], lock: dict[str, Any], params: dict[str, Any], datasets: list[str]) -> set[str]:
    """Of the stages with other bytes those that may have them. `lock`, `params`: of the commit, parsed."""
    pairs = {name: recorded.mapping(recorded.mapping(params["datasets"], name), "pairs") for name in datasets}
    embedded = {f"pairs@{name}" for name, keys in pairs.items() if keys.get("embeddings")}
    found = {name for name in other if name.partition("@")[0] in FLOATS or name in embedded}
    before: set[str] = set()
    while found != before:  # what reads other bytes makes other bytes
        before = set(found)
        made = {out["path"] for name in found for out in lock[name].get("outs", [])}
        found |= {name for name in other if made & {dep["path"] for dep in lock[name].get("deps", [])}}
    return found
