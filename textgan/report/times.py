"""Seconds of the stages on this machine, and those of the commit's own run for what was only restored here."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TIMES = Path("runs/stages.json")
RECORD = "report/run.json"
LOCK = "dvc.lock"
ORDER = ("draw", "ingest", "images", "captions", "pairs", "train", "matcher", "evaluate", "report")


@dataclass(frozen=True, slots=True)
class StageTime:
    """Of one stage; `seconds` is None where a stage was restored and nobody recorded what its run took."""

    name: str
    seconds: float | None
    how: str
    """ran, or restored"""

    @property
    def ran(self) -> bool:
        """Whether the seconds are of this machine's own run."""
        return self.how != "restored"

    def __str__(self) -> str:
        if self.seconds is None:
            return "restored"
        return f"{self.seconds:.0f} s" if self.ran else f"{self.seconds:.0f} s, recorded"


def stage_times() -> list[StageTime]:
    """Each stage's last run on this machine. To restore takes no time worth telling: the commit's record is shown."""
    try:
        stages: dict[str, Any] = json.loads(TIMES.read_text(encoding="utf-8"))["stages"]
    except (FileNotFoundError, ValueError, KeyError):
        return []
    known = recorded()
    rows = []
    for name, entry in stages.items():
        seconds, how = (entry["seconds"], entry.get("how", "")) if isinstance(entry, dict) else (entry, "")
        rows.append(StageTime(name, known.get(name) if how == "restored" else float(seconds), str(how)))
    return sorted(rows, key=lambda row: (ORDER.index(s) if (s := row.name.split("@")[0]) in ORDER else 99, row.name))


def recorded() -> dict[str, float]:
    """Seconds that the commit records of the stages whose bytes here are the commit's: of others they tell nothing."""
    try:
        seconds = json.loads(git("show", f"HEAD:{RECORD}") or "{}").get("seconds", {})
        committed = yaml.safe_load(git("show", f"HEAD:{LOCK}") or "") or {}
        present = yaml.safe_load(Path(LOCK).read_text(encoding="utf-8")) or {}
        before, now = committed.get("stages", {}), present.get("stages", {})
        return {
            str(name): float(value)
            for name, value in seconds.items()
            if name in before and before[name].get("outs") == now.get(name, {}).get("outs")
        }
    except (FileNotFoundError, ValueError, TypeError, AttributeError, yaml.YAMLError):
        return {}  # no record, or one that somebody has edited: the page then says `restored` alone


def git(*arguments: str) -> str | None:
    """What git prints; None where it fails."""
    result = subprocess.run(["git", *arguments], capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else None
