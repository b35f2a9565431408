"""The flow without a server of its own, and what it leaves for `dvc repro`; decisions of the other flows."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from flows import locks
from tests import tiny_repository as tiny
from tests.flow_server import FLOWS, edit_seed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_after_a_flow_repro_has_nothing_to_do_and_the_other_way_round(tmp_path):
    place = tiny.make(tmp_path / "tiny")
    (place / "flows").symlink_to(FLOWS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment["TEXTGAN_GPU_LOCK"] = str(tmp_path / "gpu")

    def call(*arguments: str) -> str:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def count() -> int:
        return len((place / "pids").read_text().splitlines())

    try:
        assert call("flows.pipeline").count(" ran\n") == 6
        assert "up to date" in call("dvc", "repro")
        edit_seed(place, 5)
        call("dvc", "repro")
        assert count() == 6 + 3
        assert call("flows.pipeline").count(" unchanged\n") == 6
        assert count() == 6 + 3
        waiting = "waiting for another run of this repository: .state/flow.lock is held"
        held = locks.acquire(place / locks.RUN, "it", lambda: None, print)
        by_hand = subprocess.Popen(
            [sys.executable, "-u", "-m", "textgan.cli", "repro"],
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert by_hand.stdout is not None and by_hand.stdout.readline().startswith(waiting)
        os.close(held)
        assert "0 of 6 stages ran" in by_hand.stdout.read() and by_hand.wait() == 0
    finally:
        call("textgan.cli", "storage", "stop")


def test_nightly_publishes_only_what_is_better_and_nowhere_worse():
    from flows.nightly import decide

    old = {"a": {"kid": 0.2}, "b": {"right": 0.7}}
    lower = {"kid"}
    assert decide({"a": {"kid": 0.1}, "b": {"right": 0.7}}, old, lower)[0]
    assert not decide(old, old, lower)[0]
    publishing, why = decide({"a": {"kid": 0.1}, "b": {"right": 0.6}}, old, lower)
    assert not publishing and "b: right is worse" in why
    assert not decide({"a": {"other": 1.0}}, old, lower)[0]


def test_nightly_refuses_a_dirty_tree_before_anything_runs(tiny_repository, monkeypatch):
    """What the run itself commits may differ; anything else would be refused by publish hours later."""
    from flows import nightly
    from textgan.errors import UserError

    edit_seed(tiny_repository, 9)
    nightly.check_tree()
    (tiny_repository / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"nightly: notes\.txt differs from the commit"):
        nightly.check_tree()


def test_the_lock_is_committed_alone_and_gits_refusal_is_told(tiny_repository, monkeypatch):
    """Without a name of the committer git refuses: one line, no trace."""
    from flows import committing
    from textgan.errors import UserError

    monkeypatch.setattr(committing, "ROOT", tiny_repository)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    tiny.git(tiny_repository, "config", "user.useConfigOnly", "true")
    (tiny_repository / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (tiny_repository / "work.py").write_text("# mine\n")
    with pytest.raises(UserError, match="git commit: .*[Pp]lease tell me who you are"):
        committing.commit_lock(print)
    tiny.git(tiny_repository, "config", "user.name", "test")
    tiny.git(tiny_repository, "config", "user.email", "test@localhost")
    said: list[str] = []
    committing.commit_lock(said.append)
    assert said == ["Pipeline run: no output changed"]
    assert tiny.git(tiny_repository, "show", "--name-only", "--format=", "HEAD") == "dvc.lock"
    committing.commit_lock(said.append)
    assert said[1:] == ["nothing to commit"]


def test_a_sweep_takes_every_combination_and_refuses_nonsense():
    from flows.sweep import name_of, points
    from textgan.errors import UserError

    found = points({"x.lr": [1, 2], "x.seed": [0, 1, 2]})
    assert len(found) == 6 and len({name_of(point) for point in found}) == 6
    nonsense: list[dict[str, Any]] = [{}, {"x": []}, {"x": 3}, {"x": list(range(100))}]
    for grid in nonsense:
        with pytest.raises(UserError, match="grid"):
            points(grid)


def test_a_lock_is_waited_for_and_waiting_can_be_stopped(tmp_path):
    from flows.stopping import Stop, Stopped

    stop = Stop()
    said: list[str] = []
    first = locks.acquire(tmp_path / "lock", "it", stop.check, said.append)
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(Stopped):
        locks.acquire(tmp_path / "lock", "it", stop.check, said.append)
    os.close(first)
    os.close(locks.acquire(tmp_path / "lock", "it", Stop().check, said.append))
    assert len(said) == 1


def test_only_what_is_no_ordinary_error_stops_a_run():
    from flows.stopping import Stop, Stopped

    stop = Stop()
    with pytest.raises(ValueError, match="x"), stop.when_cancelled():
        raise ValueError("x")
    stop.check()
    with pytest.raises(KeyboardInterrupt), stop.when_cancelled():
        raise KeyboardInterrupt
    with pytest.raises(Stopped):
        stop.check()


def test_a_transfer_is_tried_again_with_growing_pauses_and_then_given_up():
    from flows.stopping import TRANSFER_PAUSES, Stop
    from textgan.errors import UserError

    assert list(TRANSFER_PAUSES) == sorted(TRANSFER_PAUSES) and len(TRANSFER_PAUSES) == 3
    said: list[str] = []
    tries = iter([UserError("the network"), OSError("again"), None])

    def act() -> str:
        error = next(tries)
        if error is not None:
            raise error
        return "done"

    assert Stop().retried(act, (0.01, 0.02), said.append) == "done"
    assert said == ["the network; again in 0.01 s", "again; again in 0.02 s"]
    tries = iter([OSError("one"), OSError("two")])
    with pytest.raises(OSError, match="two"):
        Stop().retried(act, (0.01,), said.append)


def test_a_stopped_run_wakes_from_its_pause_and_does_not_try_again():
    """A cancelled run is over within seconds, though a transfer would be tried again in minutes."""
    from flows.stopping import Stop, Stopped

    stop, tries = Stop(), []

    def act() -> None:
        tries.append(1)
        raise OSError("no way")

    threading.Timer(0.1, stop.set).start()
    with pytest.raises(Stopped):
        stop.retried(act, (600.0,), print)
    assert len(tries) == 1


def test_a_stage_is_run_again_as_often_as_its_meta_allows(monkeypatch):
    """Its last failure is the run's."""
    from flows import dvc_program, graph, stage

    monkeypatch.setattr(stage, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(stage, "get_run_logger", lambda: logging.getLogger("test"))
    tries: list[str] = []

    def run_here(name: str, *_rest: object) -> dvc_program.Outcome:
        tries.append(name)
        if len(tries) < 3:
            raise RuntimeError(f"{name}: exit 1")
        return dvc_program.Outcome("ran", 1.0)

    monkeypatch.setattr(stage, "run_here", run_here)
    allowed = graph.Stage("flaky", (), {"retries": 2})
    assert stage.run_stage.fn("flaky", allowed, False, False, [], []).how == "ran"
    tries.clear()
    with pytest.raises(RuntimeError, match="flaky: exit 1"):
        stage.run_stage.fn("flaky", graph.Stage("flaky", ()), False, False, [], [])
    assert len(tries) == 1


def test_what_stages_elsewhere_have_made_comes_many_objects_at_once(tiny_repository, monkeypatch):
    """Their outs alone, then `dvc pull` of the same, which says what is wrong with any; a stopped run ends it."""
    from flows import dvc_program, graph, remote, restoring, stage
    from flows.stopping import Stop, Stopped

    one = remote.Remote("http://127.0.0.1:1", "dvc", "textgan", "us-east-1", "key", "secret", "", "elsewhere")
    lock = "schema: '2.0'\nstages:\n"
    for digit, name in (("a", "first@one"), ("b", "middle@one")):
        lock += f"  {name}:\n    cmd: x\n    outs:\n    - path: out/{name}\n      md5: {digit * 32}\n"
    (tiny_repository / "dvc.lock").write_text(lock)
    stop, commands, asked = Stop(), [], []

    def restore(_remote: object, hashes: set[str], cache: Path, check: Any) -> int:
        asked.append((hashes, cache))
        check()
        return 0

    def run(*arguments: str, cwd: Path, **_rest: object) -> dvc_program.Run:
        commands.append((arguments, cwd))
        return dvc_program.Run(0, {})

    monkeypatch.setattr(stage, "ROOT", tiny_repository)
    monkeypatch.setattr(stage, "stop", stop)
    monkeypatch.setattr(stage, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(stage, "load_remote", lambda _place: one)
    monkeypatch.setattr(restoring, "restore", restore)
    monkeypatch.setattr(dvc_program, "run", run)
    middle = graph.Stage("middle@one", ("first@one",))
    stage.run_here("middle@one", middle, False, True, [], ["first@one"])
    assert asked == [({"a" * 32}, tiny_repository / ".dvc" / "cache")]
    assert commands == [
        (("pull", "first@one"), tiny_repository),
        (("repro", "--pull", "--allow-missing", "-s", "middle@one"), tiny_repository),
    ]
    stop.set()
    with pytest.raises(Stopped):
        stage.run_here("middle@one", middle, False, True, [], ["first@one"])


def test_no_more_stages_run_at_once_than_there_are_slots(monkeypatch):
    """One that waits for a slot when the run is stopped never starts."""
    from flows import stage
    from flows.stopping import Stop, Stopped

    monkeypatch.setattr(stage, "slots", threading.BoundedSemaphore(2))
    monkeypatch.setattr(stage, "stop", Stop())
    inside, most, failed = [], [], []
    leave = threading.Event()

    def work() -> None:
        try:
            with stage._slot():
                inside.append(1)
                most.append(len(inside))
                leave.wait(20)
                inside.pop()
        except Stopped as error:
            failed.append(error)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    stage.stop.wait(0.3)
    stage.stop.set()
    workers[2].join(20)
    leave.set()
    for worker in workers:
        worker.join(20)
    assert max(most) == 2 and len(failed) == 1


def test_a_tag_is_given_once_and_refused_before_anything_runs(tiny_repository, monkeypatch):
    from flows import committing
    from textgan.errors import UserError

    monkeypatch.setattr(committing, "ROOT", tiny_repository)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@localhost")
    committing.check_tag("night-1")
    committing.tag_commit("night-1", print)
    assert tiny.git(tiny_repository, "rev-parse", "night-1^{}") == tiny.git(tiny_repository, "rev-parse", "HEAD")
    with pytest.raises(UserError, match="tag night-1: a commit has it already"):
        committing.check_tag("night-1")
    for nonsense in ("a b", "-d", "x..y"):
        with pytest.raises(UserError, match="must be a name that git takes"):
            committing.check_tag(nonsense)


def test_numbers_that_no_stage_of_a_run_makes_are_not_shown_as_its_own(tiny_repository, monkeypatch):
    """A run of images@D finds the metrics that git has from another preset."""
    from flows import graph, showing

    shown: dict[str, Any] = {}
    monkeypatch.setattr(showing, "ROOT", tiny_repository)
    monkeypatch.setattr(showing, "create_table_artifact", lambda key, table, **_: shown.update({key: table}))
    monkeypatch.setattr(showing, "create_markdown_artifact", lambda key, markdown, **_: shown.update({key: markdown}))
    for name in ("one", "two"):
        for place in (tiny_repository / "metrics", tiny_repository / "data" / "evaluation" / name):
            place.mkdir(parents=True, exist_ok=True)
        (tiny_repository / "metrics" / f"{name}.json").write_text('{"metrics": {"b": 1, "a": 2}, "main": ["b"]}')
        (tiny_repository / "data" / "evaluation" / name / "grid-00.png").write_bytes(b"picture")
    showing.results(graph.read(tiny_repository, ["middle@one"]))
    assert shown == {"report": "Stages: first@one, middle@one."}
    showing.results(graph.read(tiny_repository, ["evaluate@one"]))
    assert shown["metrics-one"] == [{"metric": "b", "value": 1}, {"metric": "a", "value": 2}]
    assert "evaluation/one/grid-00.png" in shown["report"] and "evaluation/two" not in shown["report"]
    assert shown.keys() == {"report", "metrics-one"}
    (tiny_repository / "metrics" / "two.json").write_text('{"metrics": {}}')
    showing.results(graph.read(tiny_repository, ["evaluate@two"]))
    assert "metrics-two" not in shown and "evaluation/two/grid-00.png" in shown["report"]


def test_a_grid_is_shown_with_its_prompt(tmp_path):
    from flows.showing import prompts

    assert prompts(tmp_path) == {}
    grid = {"files": ["grid-00.png", "grid-01.png"], "texts": ["a red car", "un gato"]}
    (tmp_path / "metrics.json").write_text(json.dumps({"sheets": {"grid": grid}}))
    assert prompts(tmp_path) == {"grid-00.png": "a red car", "grid-01.png": "un gato"}
