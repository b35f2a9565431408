"""A real Prefect server and real workers: a cron run happens; cancels and kills leave nothing and lose nothing.

One server for the whole file; the tests build on each other in their order.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil
import pytest

from flows import daemon, graph
from tests import tiny_repository as tiny
from tests.browser import chromium, requested
from tests.flow_server import OVER, Server, edit_seed, serving, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
"""One pixel stands for a grid of samples."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tiny.make(tmp_path_factory.mktemp("server") / "tiny")
    grid = place / "data" / "evaluation" / "one" / "grid-00.png"
    grid.parent.mkdir(parents=True)
    grid.write_bytes(PICTURE)
    with serving(place, "pipeline", cron="* * * * *") as server:
        yield server


def test_a_cron_run_happens_and_brings_the_graph_up_to_date(server):
    wait_until(lambda: bool(server.runs()), "a scheduled run begins")
    server.ask("PATCH", f"/deployments/{server.deployment()}", {"paused": True})
    wait_until(lambda: all(run["state_type"] in OVER for run in server.runs()), "scheduled runs end")
    runs = server.runs()
    assert all(run["auto_scheduled"] for run in runs)
    assert {run["state_type"] for run in runs} == {"COMPLETED"}
    assert len(server.started()) == 6
    assert graph.read(server.place).to_run() == []
    assert "up to date" in server.call("dvc", "repro")
    server.ask("PATCH", f"/deployments/{server.deployment()}", {"paused": False, "schedules": []})


def test_the_run_shows_its_stages_metrics_and_grid(server):
    artifacts = server.ask("POST", "/artifacts/latest/filter", {})
    found = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert {"stages", "metrics-one", "metrics-two", "report"} <= found.keys()
    assert {row["how"] for row in json.loads(found["stages"])} == {"ran"}
    assert f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}" in found["report"]


def test_the_ui_shows_the_run_its_artifacts_and_its_grid_and_asks_nobody_else(server):
    """In headless Chromium: telemetry would be seen as a request to another host."""
    [run] = [run for run in server.runs() if server.ask("POST", "/artifacts/filter", of_run(run["id"]))][:1]
    artifacts = {one["key"]: one["id"] for one in server.ask("POST", "/artifacts/filter", of_run(run["id"]))}
    root = (server.home / "url").read_text().removesuffix("/api")
    with chromium(1280, "performance") as browser:

        def shows(page: str, *words: str) -> None:
            browser.get(root + page)
            text = "return document.body.innerText"
            wait_until(lambda: all(word in browser.execute_script(text) for word in words), page)

        shows(f"/runs/flow-run/{run['id']}?tab=Task+Runs", run["name"], "Completed", "evaluate@one")
        shows(f"/artifacts/artifact/{artifacts['stages']}", "middle@two", "ran")
        shows(f"/artifacts/artifact/{artifacts['report']}", "grid-00.png")
        pictures = (
            "return [...document.images].filter(one => one.src.startsWith('data:image/png'))"
            ".map(one => one.naturalWidth)"
        )
        wait_until(lambda: browser.execute_script(pictures) == [1], "the grid is shown")
        assert {url for url in requested(browser) if not url.startswith(f"{root}/")} == set()


def of_run(run: str) -> dict[str, Any]:
    return {"artifacts": {"flow_run_id": {"any_": [run]}}}


def test_a_run_does_what_its_parameters_say(server):
    """Nothing, one stage, one stage again; then the rest, with a commit that has a tag."""
    edit_seed(server.place, 3)
    count = len(server.started())
    pushed = (server.place / ".state" / "pushed.json").read_text()
    assert server.run(dry_run=True).startswith("COMPLETED")
    assert len(server.started()) == count
    for again in (False, True):
        assert server.run(targets=["first@one"], force=again, push_after=False).startswith("COMPLETED")
    assert server.started()[count:] == ["out/first-one"] * 2
    assert (server.place / ".state" / "pushed.json").read_text() == pushed
    assert server.run(tag="night-1").startswith("COMPLETED")
    assert server.started()[count + 2 :] == ["out/middle-one", "metrics/one.json"]
    assert (server.place / ".state" / "pushed.json").read_text() != pushed
    changed = tiny.git(server.place, "show", "--name-only", "--format=", "night-1^{}").splitlines()
    assert changed == ["dvc.lock", "metrics/one.json", "metrics/two.json", "params.yaml", "report/run.json"]


def test_two_runs_wait_for_each_other_and_the_gpu_for_its_holder(server):
    """Both complete, no stage runs twice, and none of the pool gpu while another process holds the GPU's lock."""
    edit_seed(server.place, 4)
    count = len(server.started())
    with open(server.environment["TEXTGAN_GPU_LOCK"], "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        runs = [server.submit(), server.submit()]
        for words in ("waiting for the GPU", "waiting for another run of this repository"):
            wait_until(partial(server.said, words, runs), words)
        assert server.started()[count:] == ["out/first-one"]
    assert [server.finish(run).split()[0] for run in runs] == ["COMPLETED", "COMPLETED"]
    assert server.started()[count:] == ["out/first-one", "out/middle-one", "metrics/one.json"]
    wait_until(partial(server.said, "Pushing to the storage", runs), "the log has the push")
    assert len(server.said("Pushing to the storage", runs)) == 1  # the second had nothing to push


def test_what_ran_before_is_restored_and_the_table_says_so(server):
    count = len(server.started())
    edit_seed(server.place, 3)
    assert server.run().startswith("COMPLETED")
    assert len(server.started()) == count
    how = {row["stage"]: row["how"] for row in server.artifact("stages")}
    names = ("first", "middle", "evaluate")
    assert how == {f"{name}@one": "restored" for name in names} | {f"{name}@two": "unchanged" for name in names}


def test_the_pools_take_processes_and_the_gpus_one_at_once(server):
    """`make server` made both; the runs of one deployment are not limited but by them and the kernel's locks."""
    pools = {pool["name"]: pool for pool in server.ask("POST", "/work_pools/filter", {})}
    assert {name: pools[name]["type"] for name in ("cpu", "gpu")} == {"cpu": "process", "gpu": "process"}
    assert pools["gpu"]["concurrency_limit"] == 1


def test_server_and_workers_listen_on_loopback_only(server):
    ips = set()
    for name in ("server", "worker-cpu", "worker-gpu"):
        process = daemon.find(server.home / f"{name}.json")
        assert process is not None, name
        for member in [process, *process.children(recursive=True)]:
            listening = [one for one in member.net_connections("inet") if one.status == psutil.CONN_LISTEN]
            ips |= {one.laddr.ip for one in listening}
    assert ips == {"127.0.0.1"}


def test_stages_that_wait_for_nothing_run_side_by_side(server):
    """Two at work at once; a cancellation ends both."""
    (server.place / "slow").write_text("first-")
    count = len(server.started())
    run = server.submit(force=True)
    wait_until(lambda: len(server.started()) == count + 2, "both stages have begun")
    tasks = server.ask("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    waiting = {task["name"].rpartition("-")[0] for task in tasks if task["state_type"] == "PENDING"}
    assert waiting == {f"{name}@{key}" for name in ("middle", "evaluate") for key in ("one", "two")}
    assert set(server.started()[count:]) == {"out/first-one", "out/first-two"}
    assert server.state_of(run) == "RUNNING" and len(server.programs()) == 2
    server.cancel(run)
    assert server.finish(run).startswith("CANCELLED")
    assert server.at_work() == [] and len(server.started()) == count + 2


def test_a_cancelled_run_leaves_no_process_and_starts_no_stage(server):
    (server.place / "slow").write_text("middle-one")
    edit_seed(server.place, 11)
    run = server.submit()
    wait_until(server.asleep, "the stage is at work")
    count = len(server.started())
    server.cancel(run)
    took = wait_until(lambda: not server.at_work(), "no process is left")
    print(f"cancelled: no process left after {took:.1f} s")
    wait_until(lambda: server.state_of(run) in OVER, "the run is over")
    assert server.state_of(run) == "CANCELLED"
    assert len(server.started()) == count


def test_a_stage_killed_by_sigkill_fails_its_run_once(server):
    run = server.submit()
    count = len(server.started())
    wait_until(lambda: len(server.started()) > count and server.asleep(), "the stage is at work")
    os.kill(int((server.place / "pids").read_text().splitlines()[-1].split()[0]), signal.SIGKILL)
    said = server.finish(run)
    assert said.startswith("FAILED") and "middle@one: failed" in said
    how = {row["stage"]: row["how"] for row in server.artifact("stages")}
    assert how["middle@one"].startswith("failed: ") and how["evaluate@one"].startswith("not started: ")
    assert len(server.started()) == count + 1
    assert server.at_work() == []


def test_a_flow_killed_by_sigkill_ends_its_stage_and_its_run(server):
    run = server.submit()
    count = len(server.started())
    wait_until(lambda: len(server.started()) > count and server.asleep(), "the stage is at work")
    worker = daemon.find(server.home / "worker-cpu.json")
    assert worker is not None
    for child in worker.children():
        child.send_signal(signal.SIGKILL)
    took = wait_until(lambda: not server.at_work(), "no process is left")
    print(f"flow killed: no process left after {took:.1f} s")
    wait_until(lambda: server.state_of(run) in OVER, "the run is over")
    assert server.state_of(run) == "CRASHED"


def test_server_and_worker_killed_by_sigkill_start_again_and_the_graph_is_finished(server):
    lost = server.submit()
    count = len(server.started())
    wait_until(lambda: len(server.started()) > count and server.asleep(), "the stage is at work")
    for name in ("worker-cpu", "server"):
        process = daemon.find(server.home / f"{name}.json")
        assert process is not None
        for member in [*process.children(recursive=True), process]:
            if "flows/guard.py" not in " ".join(member.cmdline()):  # a guard is what must see to the rest
                member.kill()
    wait_until(lambda: not server.at_work(), "no process is left")
    assert "no Prefect server answers there" in server.refused("flows.server", "status")
    (server.place / "slow").unlink()
    server.call("flows.server", "start")
    server.ask("PATCH", f"/deployments/{server.deployment()}", {"schedules": []})
    run = server.submit()
    wait_until(lambda: server.state_of(run) in OVER, "the next run is over")
    assert server.state_of(run) == "COMPLETED"
    assert graph.read(server.place).to_run() == []
    wait_until(lambda: server.state_of(lost) in OVER, "the run that lost its process is over too")
    assert server.state_of(lost) == "CRASHED"


def test_without_a_worker_a_run_is_late_and_status_says_why(server):
    """It is Late in the UI, and it is taken when the worker is there again."""
    worker = daemon.find(server.home / "worker-cpu.json")
    assert worker is not None
    worker.kill()
    run = server.submit(dry_run=True)
    wait_until(lambda: server.ask("GET", f"/flow_runs/{run}")["state"]["name"] == "Late", "the run is late")
    assert "no worker is online on the work pool cpu" in server.refused("flows.server", "status")
    server.call("flows.server", "start")
    assert server.finish(run).startswith("COMPLETED")
    assert "work pool cpu: textgan-" in server.call("flows.server", "status")


def test_keys_are_in_no_log_parameter_or_artifact(server):
    """What is a parameter, a log line, an artifact of a run is found in the same way, so that a key would be."""
    (server.place / "slow").unlink(missing_ok=True)
    edit_seed(server.place, 21)
    assert server.run(tag="keys-1").startswith("COMPLETED")
    for known in ("keys-1", "Pushing to the storage", base64.b64encode(PICTURE).decode()):
        wait_until(partial(server.files_with, known), f"{known[:40]} is in a file of the server")
    remote = json.loads((server.place / ".state" / "storage" / "remote.json").read_text())
    assert server.files_with(remote["secret_key"]) == server.files_with(remote["access_key"]) == []


def test_make_server_stop_ends_all_of_it(server):
    """A run that is under way too; what is asked afterwards says what to do."""
    (server.place / "slow").write_text("middle-one")
    count = len(server.started())
    server.submit(targets=["middle@one"], force=True)
    wait_until(lambda: len(server.started()) > count and server.asleep(), "the stage is at work")
    assert "stopped worker-cpu, worker-gpu, server" in server.call("flows.server", "stop")
    wait_until(lambda: not server.at_work(), "no process is left")
    assert server.prefect_processes() == []
    assert "`make server` starts one" in server.refused("flows.server", "status")
    assert "nothing of this clone was running" in server.call("flows.server", "stop")
