"""What a reproduction will take, time and disk, said before it is taken."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from flows.recorded import NotVerifiable


def state(tree: Path, entries: dict[str, Any], again: list[str], seconds: dict[str, float]) -> None:
    """Print it. Raises NotVerifiable where the disk has no room.

    `entries`: what dvc.lock has of each stage; `again`: those that will run; `seconds`: what the commit says of them.
    """
    sizes = [out.get("size", 0) for entry in entries.values() for out in entry.get("outs", [])]
    size = sum(one for one in sizes if isinstance(one, int))
    known = {**_seconds_here(), **seconds}
    total = sum(known.get(name, 0.0) for name in again)
    where = "on the commit's machine" if seconds else "when last run here"
    runs = f"{len(again)} {'stage runs' if len(again) == 1 else 'stages run'}"
    took = f"{runs}, which took {total:.0f} s {where}" if total else f"{runs}, no earlier time is known"
    took = took if again else "nothing is run, all is read and hashed"
    free = shutil.disk_usage(tree).free
    disk = f"{size / 1e6:.1f} MB on disk ({free / 1e6:.0f} MB are free)"
    print(f"{len(entries)} stages, {disk}; {took}; in {tree}", flush=True)
    if size > free:
        raise NotVerifiable(f"it takes {disk}: no room in {tree.parent}")


def _seconds_here() -> dict[str, float]:
    """Seconds of each stage's last run in this clone."""
    from flows.repro import times

    return {name: float(entry["seconds"]) for name, entry in times().items()}
