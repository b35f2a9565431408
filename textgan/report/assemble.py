"""The page with this machine's run facts: times, hardware, commit. No DVC out, for it holds clocks."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from html import escape
from pathlib import Path

from textgan.errors import UserError
from textgan.files import write_bytes
from textgan.report.cost import write_cost
from textgan.report.times import StageTime, git, stage_times

CONTENT = Path("report/content/page.html")
INDEX = Path("report/index.html")
PLACE = "<!-- run facts -->"
SECONDS = re.compile("<!-- seconds of ([a-z]+@[A-Za-z0-9_-]+) -->")
"""Where the page waits for a stage's seconds."""


def assemble() -> Path:
    """Write report/index.html, and report/cost-LANGUAGE.tex for the paper.

    Raises UserError where the content is missing.
    """
    try:
        content = CONTENT.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{CONTENT}: no such file; the stage report writes it (`dvc repro report`)") from None
    times = {stage.name: str(stage) for stage in stage_times()}
    content = SECONDS.sub(lambda match: times.get(match[1], "–"), content)
    write_cost(stage_times(), machine(), INDEX.parent)
    write_bytes(INDEX, content.replace(PLACE, run_facts(), 1).encode())
    return INDEX


def run_facts() -> str:
    """Two tables: where and from what; seconds a stage."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in machine().items())
    html = f'<div class="scroll"><table class="facts">{rows}</table></div>'
    stages = stage_times()
    if stages:
        longest = max(stage.seconds or 0.0 for stage in stages) or 1.0
        lines = "".join(
            f"<tr><th>{escape(stage.name)}</th>"
            f'<td class="n">{"–" if stage.seconds is None else f"{stage.seconds:.1f}"}</td>'
            f"<td>{escape(_how(stage))}</td>"
            f'<td class="wide"><span class="time{"" if stage.ran else " recorded"}"'
            f' style="width:{100 * (stage.seconds or 0.0) / longest:.1f}%"></span></td></tr>'
            for stage in stages
        )
        head = '<thead><tr><th>stage</th><th class="n">seconds</th><th>how</th><th></th></tr></thead>'
        total = sum(stage.seconds or 0.0 for stage in stages if stage.ran)
        foot = f'<tr class="sum"><th>all that ran here</th><td class="n">{total:.0f}</td><td></td><td></td></tr>'
        html += f'<div class="scroll"><table class="times">{head}<tbody>{lines}{foot}</tbody></table></div>'
    else:
        html += "<p>Stage times: none recorded here (<code>textgan repro</code> records them).</p>"
    return html


def _how(stage: StageTime) -> str:
    if stage.ran:
        return stage.how
    return "restored; no seconds are recorded" if stage.seconds is None else "restored; seconds of the commit's own run"


def machine() -> dict[str, str]:
    """Commit, versions and hardware of this machine."""
    facts = {"commit": git("rev-parse", "HEAD") or "no commit"}
    status = git("status", "--porcelain", "--untracked-files=no")
    facts["working tree"] = "not a git checkout" if status is None else _changed(status)
    facts["processor"] = _processor()
    facts["cores"] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    facts["memory"] = _memory()
    facts["GPU"] = _gpus()
    facts["system"] = f"{platform.system()} {platform.machine()}"
    facts["Python"] = platform.python_version()
    return facts


def _changed(status: str) -> str:
    """What differs from the commit, by name: a run writes dvc.lock and metrics, and these alone may be meant."""
    names = [line.split(maxsplit=1)[1] for line in status.splitlines()]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"changed: {', '.join(names[:5])}{more}" if names else "clean"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):  # a system that does not tell
        return "unknown"


def _gpus() -> str:
    """Names, memory and driver, as nvidia-smi says them; it may be there without a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "none"
    asked = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        shown = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "nvidia-smi does not answer"
    return (
        "; ".join(line.strip() for line in shown.stdout.splitlines() if line.strip())
        if not shown.returncode
        else "none"
    )
