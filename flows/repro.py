"""`textgan repro`: storage up, exports linked, `dvc repro`, `dvc push`, and a few closing lines."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import dvc_program as dvc
from flows import environment, locks, torn
from flows.history import LOCK_FILE, committed_text
from textgan.errors import UserError
from textgan.files import STATE, write_json
from textgan.report.assemble import CONTENT, assemble

TIMES = Path("runs/stages.json")
"""Wall seconds of each stage's last run, for the report; no DVC out, for it holds clocks."""
PUSHED = STATE / "pushed.json"
"""Which dvc.lock is known to be in which storage: a second run then need not ask for each object."""


def repro(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages, e.g. images@catcar; default: all.")] = None,
    push: Annotated[bool, typer.Option(help="Push the artifacts to the storage afterwards.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Run every stage, changed or not.")] = False,
) -> None:
    """Run the whole graph, push it, and say where the report is."""
    held = locks.acquire(locks.RUN, "another run of this repository", lambda: None, print)
    try:
        _repro(targets, push, force, held)
    finally:
        os.close(held)


def _repro(targets: list[str] | None, push: bool, force: bool, held: int) -> None:
    from flows import exports, restoring, storage
    from textgan import params

    start = time.monotonic()
    torn.mend(Path(), print)
    loaded = params.load()
    exports.link_all()
    remote = storage.ensure_started()
    committed = committed_lock()
    arguments = [*(["--force"] if force else []), *(["--pull"] if remote.attached_to else []), *(targets or [])]
    if remote.attached_to:
        restoring.bring_for_repro(remote, targets or [], force)
    times = _Times()
    result = dvc.run("repro", *arguments, say=print, on_stage=times.record, keep_open=(held,))
    if result.code != 0:
        failed = [stage for stage, outcome in result.stages.items() if outcome.how == "failed"]
        again = "the same command again goes on from there"
        raise UserError(f"dvc repro: {', '.join(failed) or 'no stage'} failed (exit {result.code}); {again}")
    if CONTENT.exists():
        assemble()  # the page again, now that the report stage's own time is known too
    record_machine(result, committed)
    if push:
        push_if_needed(remote.identity)
    for line in closing_lines(loaded.datasets, result, committed, time.monotonic() - start):
        print(line)


def record_outcomes(outcomes: dict[str, dvc.Outcome], committed: dict[str, dict[str, str]]) -> None:
    """What `textgan repro` keeps of a run's stages: their times, the machine, the page with both."""
    times = _Times()
    for stage, outcome in outcomes.items():
        times.record(stage, outcome)
    if CONTENT.exists():
        assemble()
    record_machine(dvc.Run(0, outcomes), committed)


class _Times:
    """Keeps runs/stages.json up to date as stages end: the report, the last stage, shows it."""

    def __init__(self) -> None:
        self.stages = times()

    def record(self, stage: str, outcome: dvc.Outcome) -> None:
        if outcome.how in ("ran", "restored"):
            ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self.stages[stage] = {"how": outcome.how, "seconds": outcome.seconds, "ended": ended}
            write_json(TIMES, {"stages": self.stages})


def times() -> dict[str, Any]:
    """What TIMES has of each stage: how it came, seconds, when; nothing where it is missing or damaged."""
    try:
        return dict(json.loads(TIMES.read_text(encoding="utf-8"))["stages"])
    except (FileNotFoundError, ValueError, KeyError):
        return {}


def record_machine(result: dvc.Run, committed: dict[str, dict[str, str]]) -> None:
    """Write report/run.json beside a dvc.lock that is new; the committed one's record stands where bytes are equal."""
    ran = any(outcome.how == "ran" for outcome in result.stages.values())
    if environment.RECORD.exists() and (not ran or dvc.lock_outs(LOCK_FILE.read_text("utf-8")) == committed):
        return
    if TIMES.exists():
        stages = times()
        environment.record({name: entry["seconds"] for name, entry in stages.items() if entry["how"] == "ran"})


def push_if_needed(identity: str, say: dvc.Say = print, on_start: dvc.OnStart = lambda _process: None) -> bool:
    """`dvc push` with the run cache, unless this very dvc.lock is already in this storage. True where it pushed.

    `on_start` gets the command, for who may have to end it.
    """
    if is_pushed(identity):
        return False
    state = _pushed(identity)
    say("Pushing to the storage")
    result = dvc.run("push", "--run-cache", say=say, on_start=on_start)
    if result.code != 0:
        raise UserError(f"dvc push failed (exit {result.code}): {result.tail[-1] if result.tail else 'no output'}")
    write_json(PUSHED, state)
    return True


def is_pushed(identity: str) -> bool:
    """Whether this very dvc.lock is known to be in this storage."""
    try:
        return bool(json.loads(PUSHED.read_text(encoding="utf-8")) == _pushed(identity))
    except (FileNotFoundError, ValueError):
        return False


def _pushed(identity: str) -> dict[str, str]:
    return {"lock": hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest(), "storage": identity}


def committed_lock() -> dict[str, dict[str, str]]:
    """The outs of HEAD's dvc.lock; empty where there is no commit or it has none."""
    return dvc.lock_outs(committed_text(Path()).decode())


def closing_lines(datasets: Any, result: dvc.Run, committed: dict[str, dict[str, str]], seconds: float) -> list[str]:
    """Where the report is, the main numbers, what came out otherwise than committed, what to try next."""
    present = dvc.lock_outs(LOCK_FILE.read_text(encoding="utf-8"))
    ran = [stage for stage, outcome in result.stages.items() if outcome.how == "ran"]
    restored = [stage for stage, outcome in result.stages.items() if outcome.how == "restored"]
    counts = f"{len(ran)} of {len(result.stages)} stages ran" + (f", {len(restored)} restored" if restored else "")
    lines = ["", f"Done in {seconds:.0f} s: {counts}."]
    for name in datasets:
        lines += _numbers(name)
    lines += _differences(present, committed)
    report = Path("report/index.html")
    if report.exists():
        lines.append(f"Report: {report.resolve()}")
    name = next(iter(datasets))
    sample = f'.venv/bin/textgan sample --model models/{name} --prompt "a red car" --seeds 0-7 --out build/red.png'
    photos = ".venv/bin/textgan preset photos-cpu --smoke && make repro    (your LSUN exports)"
    lines += ["Next:", f"  {sample}", f"  {photos}"]
    return lines


def _numbers(name: str) -> list[str]:
    """The headline metrics of one dataset: those its file puts under `main`, else all numbers, a few to a line."""
    path = Path("metrics") / f"{name}.json"
    if not path.exists():
        return []
    value = json.loads(path.read_text(encoding="utf-8"))
    metrics = value.get("metrics", {})
    chosen = value.get("main") or [key for key, number in metrics.items() if isinstance(number, (int, float))][:12]
    shown = [f"  {key:<44} {metrics[key]:.4g}" for key in chosen if isinstance(metrics.get(key), (int, float))]
    return [f"{name} ({path}):", *shown]


def _differences(present: dict[str, dict[str, str]], committed: dict[str, dict[str, str]]) -> list[str]:
    """Which stages have other bytes than the commit recorded, of those that both know."""
    common = sorted(present.keys() & committed.keys())
    if not common:
        return []
    other = [stage for stage in common if present[stage] != committed[stage]]
    if not other:
        return [f"Every output of the {len(common)} stages that the commit records has the committed bytes."]
    equal = len(common) - len(other)
    return [f"Other bytes than the committed dvc.lock: {', '.join(other)} (the other {equal} are equal)."]
