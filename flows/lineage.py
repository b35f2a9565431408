"""`textgan lineage PATH|HASH`: which export rows, parameters, code and commit made a file.

The present dvc.lock and those of all commits say which stage made it from what; the commit's own files say whether
the code is that commit's; shards, inventory and captions say which LMDB keys are in it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import typer

from flows import history
from flows.finding import EXPORTS, Made, find, is_within
from flows.history import Commit, Entry, StageRecord
from flows.listings import Listings
from flows.rows import Row, content, count_rows, find_rows, sample_keys, split_member
from textgan.files import to_json
from textgan.report.assemble import CONTENT, INDEX
from textgan.toplevel import typed_or_name

SHOWN_KEYS = 3
SHALLOW = "this clone is shallow, an older commit may have recorded it first; `git fetch --unshallow` brings the rest"


@dataclass(slots=True)
class Lineage:
    """The answer."""

    path: str
    md5: str
    out: str
    commit: str | None
    date: str
    subject: str
    also_in: int
    """Further commits whose dvc.lock records the same out."""
    stages: list[dict[str, Any]] = field(default_factory=list)
    """From the one that made the file up to the sources: name, cmd, params, code, inputs."""
    exports: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Row] | None = None
    """LMDB entries in the file; None where it has no sample keys."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """{export: {split or reason of rejection: entries}} of the dataset."""
    notes: list[str] = field(default_factory=list)


def lineage(
    what: Annotated[str, typer.Argument(help="A path, or an md5 or sha256 (8 digits or more).")],
    keys: Annotated[bool, typer.Option("--keys", help="Print every LMDB key.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say which export rows, parameters, code and commit made a file."""
    answer = trace(typed_or_name(what))
    if as_json:
        print(to_json(asdict(answer)), end="")
    else:
        for line in lines_of(answer, keys):
            print(line)


def lines_of(answer: Lineage, keys: bool = False) -> list[str]:
    """The answer in words."""
    commit = f"commit {answer.commit}" if answer.commit else "no commit yet; the present dvc.lock"
    lines = [answer.path, f"  md5 {answer.md5}, in {answer.out}", f"  first recorded by {commit}"]
    if answer.commit:
        later = f"; {answer.also_in} more commits record the same" if answer.also_in else ""
        lines.append(f"  {answer.date[:10]} {answer.subject}{later}")
    for stage in answer.stages:
        lines += [f"stage {stage['name']}: {stage['cmd']}"]
        lines += [
            f"  param {key}: {json.dumps(value, sort_keys=True)}" for key, value in sorted(stage["params"].items())
        ]
        lines += [f"  input {dep['path']} (md5 {dep['md5']})" for dep in stage["inputs"]]
        by_commit: dict[str | None, list[str]] = {}
        for dep in stage["code"]:
            by_commit.setdefault(dep["commit"], []).append(dep["path"])
        for sha, paths in by_commit.items():
            lines.append(f"  code {'of commit ' + sha[:12] if sha else 'NEVER COMMITTED'}: {', '.join(paths)}")
    for export in answer.exports:
        source = f"drawn with {json.dumps(export['drawn'], sort_keys=True)}" if export["drawn"] else "a given export"
        lines.append(f"export {export['path']}: {source}, {export['size']:,} bytes, md5 {export['md5']}")
    for name, counts in sorted(answer.counts.items()):
        shown = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
        lines.append(f"entries of {name}: {shown}")
    if answer.rows is not None:
        lines.append(f"made of {len(answer.rows):,} LMDB entries:")
        shown_rows = answer.rows if keys else answer.rows[:SHOWN_KEYS]
        lines += [
            f"  {row.export}  {row.lmdb_key}  (sample {row.sample_key}, value sha256 {row.sha256})"
            for row in shown_rows
        ]
        if len(shown_rows) < len(answer.rows):
            lines.append(f"  and {len(answer.rows) - len(shown_rows):,} more; --keys prints all")
    return lines + [f"note: {note}" for note in answer.notes]


def trace(what: str) -> Lineage:
    """Find a file by path or hash and follow it to its sources. Raises UserError where nothing recorded it."""
    what, member = split_member(what)
    listings = Listings()
    made, also_in = find(what, listings)
    answer = Lineage(
        made.path,
        made.md5,
        made.out.path,
        made.commit.sha if made.commit else None,
        made.commit.date if made.commit else "",
        made.commit.subject if made.commit else "not committed",
        also_in,
    )
    code_of = _Code(made.commit)
    for stage in upstream(made.stage, made.lock):
        produced = {out.path for other in made.lock.values() for out in other.outs}
        inputs = [dep for dep in stage.deps if dep.path.startswith(EXPORTS) or _is_made(dep.path, produced)]
        code = [dep for dep in stage.deps if dep not in inputs]
        answer.stages.append(
            {
                "name": stage.name,
                "cmd": stage.cmd,
                "params": stage.params,
                "inputs": [asdict(dep) for dep in inputs],
                "code": [{"path": dep.path, "md5": dep.md5, "commit": code_of.commit(dep)} for dep in code],
            }
        )
        drawn = [out for out in stage.outs if out.path.startswith(EXPORTS)]
        real = [dep for dep in inputs if not _is_made(dep.path, produced)]
        answer.exports += [asdict(out) | {"drawn": stage.params} for out in drawn]
        answer.exports += [asdict(dep) | {"drawn": None} for dep in real]
    answer.notes += code_of.notes
    if made.path == CONTENT.as_posix():
        answer.notes.append(f"{INDEX} is {CONTENT} with this machine's times and hardware put in; no dvc.lock has it")
    _count(answer, made, member, listings)
    if history.git("rev-parse", "--is-shallow-repository").strip() == "true":
        answer.notes.append(SHALLOW)
    return answer


def _count(answer: Lineage, made: Made, member: str, listings: Listings) -> None:
    """Entries and LMDB keys, by the inventory of the commit that made the file or, where that is gone, the newest."""
    missing = []
    for lock in (made.lock, made.newest):
        ingests = (stage for stage in upstream(lock[made.stage.name], lock) if stage.name.startswith("ingest"))
        for out in next((stage.outs for stage in ingests), ()):
            name, files = f"{out.path}/inventory.parquet", listings.files(out) or {}
            place = content(name, files.get(name, ""))
            if place is None:
                missing += [f"{name} of md5 {files.get(name, out.md5)} is not here; `dvc pull` brings it"]
                continue
            answer.counts = count_rows(place)
            keys = sample_keys(made.path, made.md5, member)
            answer.rows = None if keys is None else find_rows(place, keys)
            return
    answer.notes += missing[:1]


def _is_made(path: str, produced: set[str]) -> bool:
    """Whether an out of a stage is, has, or lies in what is read."""
    return any(is_within(path, out) or is_within(out, path) for out in produced)


def upstream(stage: StageRecord, lock: dict[str, StageRecord]) -> list[StageRecord]:
    """The stage and all that it stands on, nearest first."""
    makers = {out.path: other for other in lock.values() for out in other.outs}
    order: list[StageRecord] = []
    todo = [stage]
    while todo:
        current = todo.pop(0)
        if current.name in [seen.name for seen in order]:
            continue
        order.append(current)
        for dep in current.deps:
            todo += [makers[path] for path in makers if is_within(dep.path, path) or is_within(path, dep.path)]
    return order


class _Code:
    """Which commit has the code that a lock names: the lock's own, or the newest one that has these bytes."""

    def __init__(self, commit: Commit | None) -> None:
        self.at = commit.sha if commit else "HEAD"
        self.known: dict[tuple[str, str], str | None] = {}
        self.notes: list[str] = []

    def commit(self, dep: Entry) -> str | None:
        """A commit hash; None where no commit has these bytes."""
        key = (dep.path, dep.md5)
        if key not in self.known:
            self.known[key] = self._search(dep)
            if self.known[key] is None:
                self.notes.append(f"no commit has {dep.path} with md5 {dep.md5}: the code that ran was never committed")
        return self.known[key]

    def _search(self, dep: Entry) -> str | None:
        if history.md5_at(self.at, dep.path) == dep.md5:
            return history.git("rev-parse", self.at).strip()
        for sha in history.git("log", "--all", "--format=%H", "--", dep.path).split():
            if history.md5_at(sha, dep.path) == dep.md5:
                return sha
        return None
