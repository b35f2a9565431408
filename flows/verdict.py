"""The verdict on a reproduction: stage by stage and metric by metric, in words that cannot be mistaken."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

IDENTICAL = "identical"
CLOSE = "equal within tolerance"
DIFFERENT = "different"
RESTORED = "restored, not rerun"
UNKNOWN = "not verifiable"
EXIT_CODES = {IDENTICAL: 0, CLOSE: 0, DIFFERENT: 1, RESTORED: 0, UNKNOWN: 2}


@dataclass(frozen=True, slots=True)
class Row:
    """One stage or metric: what is said of it, and the detail (the first difference, the tolerance, the reason)."""

    name: str
    verdict: str
    detail: str = ""


@dataclass(slots=True)
class Verdict:
    """All rows of one reproduction."""

    commit: str
    mode: str
    stages: list[Row] = field(default_factory=list)
    metrics: list[Row] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    tolerances: dict[str, str] = field(default_factory=dict)
    """Of each dataset: where its tolerances come from."""
    ran: dict[str, float] = field(default_factory=dict)
    """Seconds of each stage that ran here."""
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """1 where anything differs, else 2 where anything could not be verified, else 0."""
        codes = {EXIT_CODES[row.verdict] for row in [*self.stages, *self.metrics]}
        return 1 if 1 in codes else 2 if 2 in codes or not self.stages else 0

    def as_json(self) -> dict[str, Any]:
        """What verdict.json holds."""
        return {**dataclasses.asdict(self), "exit_code": self.exit_code}

    def table(self) -> str:
        """The rows as text, and one closing sentence."""
        rows = [*self.stages, *self.metrics]
        width = max((len(row.name) for row in rows), default=0)
        lines = [f"{row.name:<{width}}  {row.verdict}{f': {row.detail}' if row.detail else ''}" for row in rows]
        lines += [f"tolerances of {dataset}: {source}" for dataset, source in self.tolerances.items()]
        return "\n".join([*lines, "", self.sentence()])

    def sentence(self) -> str:
        """The whole in one sentence."""
        bad = [row.name for row in [*self.stages, *self.metrics] if row.verdict == DIFFERENT]
        unknown = [row.name for row in [*self.stages, *self.metrics] if row.verdict == UNKNOWN]
        if bad:
            return f"VERDICT: {self.commit[:12]} is NOT reproduced: {', '.join(bad)} differ."
        if unknown or not self.stages:
            return (
                f"VERDICT: {self.commit[:12]} cannot be verified in full: {', '.join(unknown) or 'it has no stages'}."
            )
        counts = f"stages: {_counts(self.stages)}; metrics: {_counts(self.metrics)}"
        ran = any(row.verdict != RESTORED for row in [*self.stages, *self.metrics])
        what = "reproduced" if ran else "restored as it was recorded, and nothing of it was run again"
        return f"VERDICT: {self.commit[:12]} is {what} ({self.mode}). {counts}."


def _counts(rows: list[Row]) -> str:
    """How many rows have each word, so that `restored` is never read as `run again`."""
    return ", ".join(f"{count} {word}" for word, count in Counter(row.verdict for row in rows).items()) or "none"


def compare_metrics(dataset: str, want: dict[str, Any], got: dict[str, Any], tolerances: dict[str, float]) -> list[Row]:
    """One row for each metric that either side has."""
    rows = []
    for name in sorted(want.keys() | got.keys()):
        label = f"{dataset}:{name}"
        if name not in want or name not in got:
            side = "the commit" if name not in want else "the rerun"
            rows.append(Row(label, DIFFERENT, f"{side} has no such metric"))
        elif want[name] == got[name] and isinstance(want[name], bool) == isinstance(got[name], bool):
            rows.append(Row(label, IDENTICAL))
        elif not (_is_number(want[name]) and _is_number(got[name])):
            rows.append(Row(label, DIFFERENT, f"commit {want[name]!r}, now {got[name]!r}"))
        else:
            tolerance = tolerances.get(name, 0.0)
            close = abs(want[name] - got[name]) <= tolerance
            detail = f"commit {want[name]:.6g}, now {got[name]:.6g}, tolerance {tolerance:g}"
            rows.append(Row(label, CLOSE if close else DIFFERENT, detail))
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
