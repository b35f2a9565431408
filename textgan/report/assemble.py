"""The page with this machine's run facts: times, hardware, commit. No DVC out, for it holds clocks."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from html import escape
from pathlib import Path
from typing import Any

from textgan.errors import UserError
from textgan.files import write_bytes

CONTENT = Path("report/content/page.html")
INDEX = Path("report/index.html")
TIMES = Path("runs/stages.json")
PLACE = "<!-- run facts -->"
SECONDS = re.compile("<!-- seconds of ([a-z]+@[A-Za-z0-9_-]+) -->")
"""Where the page waits for a stage's seconds."""


def assemble() -> Path:
    """Write report/index.html. Raises UserError where the content is missing."""
    try:
        content = CONTENT.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{CONTENT}: no such file; the stage report writes it (`dvc repro report`)") from None
    times = {name: f"{seconds:.0f} s" for name, seconds, _ in stage_times()}
    content = SECONDS.sub(lambda match: times.get(match[1], "–"), content)
    write_bytes(INDEX, content.replace(PLACE, run_facts(), 1).encode())
    return INDEX


def run_facts() -> str:
    """Two tables: where and from what; seconds a stage."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in machine().items())
    html = f'<div class="scroll"><table class="facts">{rows}</table></div>'
    stages = stage_times()
    if stages:
        total = sum(seconds for _, seconds, _ in stages)
        longest = max(seconds for _, seconds, _ in stages) or 1.0
        lines = "".join(
            f'<tr><th>{escape(name)}</th><td class="n">{seconds:.1f}</td><td>{escape(how)}</td>'
            f'<td class="wide"><span class="time" style="width:{100 * seconds / longest:.1f}%"></span></td></tr>'
            for name, seconds, how in stages
        )
        head = '<thead><tr><th>stage</th><th class="n">seconds</th><th>how</th><th></th></tr></thead>'
        foot = f'<tr class="sum"><th>all</th><td class="n">{total:.0f}</td><td></td><td></td></tr>'
        html += f'<div class="scroll"><table class="times">{head}<tbody>{lines}{foot}</tbody></table></div>'
    else:
        html += "<p>Stage times: none recorded here (<code>textgan repro</code> records them).</p>"
    return html


def stage_times() -> list[tuple[str, float, str]]:
    """(stage, seconds, how) of each stage's last run on this machine; `how` is ran or restored."""
    try:
        stages: dict[str, Any] = json.loads(TIMES.read_text(encoding="utf-8"))["stages"]
    except (FileNotFoundError, ValueError, KeyError):
        return []
    rows = []
    for name, entry in stages.items():
        seconds, how = (entry["seconds"], entry.get("how", "")) if isinstance(entry, dict) else (entry, "")
        rows.append((name, float(seconds), str(how)))
    order = ("draw", "ingest", "images", "captions", "pairs", "train", "matcher", "evaluate", "report")
    return sorted(rows, key=lambda row: (order.index(s) if (s := row[0].split("@")[0]) in order else 99, row[0]))


def machine() -> dict[str, str]:
    """Commit, versions and hardware of this machine."""
    facts = {"commit": _git("rev-parse", "HEAD") or "no commit"}
    status = _git("status", "--porcelain", "--untracked-files=no")
    facts["working tree"] = "not a git checkout" if status is None else _changed(status)
    facts["processor"] = _processor()
    facts["cores"] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    facts["system"] = f"{platform.system()} {platform.machine()}"
    facts["Python"] = platform.python_version()
    return facts


def _changed(status: str) -> str:
    """What differs from the commit, by name: a run writes dvc.lock and metrics, and these alone may be meant."""
    names = [line.split(maxsplit=1)[1] for line in status.splitlines()]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"changed: {', '.join(names[:5])}{more}" if names else "clean"


def _git(*arguments: str) -> str | None:
    result = subprocess.run(["git", *arguments], capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
