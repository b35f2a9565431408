"""Two machines with only S3 in common: two directories, a server and a worker each, the GPU's without the export."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flows import graph
from tests import tiny_repository as tiny
from tests.flow_server import Server, choose_deployments, edit_seed, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
GPU_LESS = frozenset({"cpu"})


class Machines:
    """`cpu` has the export, the storage and the Prefect server; `gpu` the same commit, and a worker."""

    def __init__(self, place: Path) -> None:
        made = tiny.make(place / "cpu")
        value = yaml.safe_load((made / "dvc.yaml").read_text())
        value["stages"]["first"]["do"]["deps"] = ["exports/${key}.txt"]  # data that no stage makes
        (made / "dvc.yaml").write_text(yaml.safe_dump(value))
        with open(made / ".gitignore", "a") as file:
            file.write("/exports\n/flows\n")
        choose_deployments(made, "pipeline", "gpu")
        tiny.commit(made, "stages read an export")
        shutil.copytree(made, place / "gpu")
        for name in ("one", "two"):
            (made / "exports").mkdir(exist_ok=True)
            (made / "exports" / f"{name}.txt").write_text(f"the export {name}")
        settings = {"TEXTGAN_WORKER_SECONDS": "60"}
        self.cpu = Server(made, TEXTGAN_POOLS="cpu", **settings)
        self.gpu = Server(place / "gpu", TEXTGAN_POOLS="gpu", **settings)

    def connect(self) -> None:
        """Storage and server by their addresses, and the keys in a file, as between two machines."""
        self.cpu.call("textgan.cli", "storage", "start")
        remote = json.loads((self.cpu.place / ".state" / "storage" / "remote.json").read_text())
        keys = self.gpu.place / ".state" / "keys.json"
        keys.parent.mkdir(exist_ok=True)
        keys.write_text(json.dumps({"access_key": remote["access_key"], "secret_key": remote["secret_key"]}))
        self.gpu.call("textgan.cli", "storage", "attach", remote["endpoint"], "--credentials", str(keys))
        self.cpu.call("flows.server", "start")
        self.gpu.environment["PREFECT_API_URL"] = (self.cpu.home / "url").read_text()
        self.work()

    def work(self) -> None:
        """Start the GPU machine's worker."""
        self.gpu.call("flows.server", "worker")

    def edit(self, seed: int) -> None:
        """Another commit, which both have."""
        for machine in (self.cpu, self.gpu):
            edit_seed(machine.place, seed)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    machines = Machines(tmp_path_factory.mktemp("machines"))
    try:
        machines.connect()
        yield machines
    finally:
        for machine in (machines.gpu, machines.cpu):
            machine.call("flows.server", "stop")
            machine.call("textgan.cli", "storage", "stop")


def test_each_stage_runs_on_the_machine_of_its_pool(machines):
    cpu, gpu = machines.cpu, machines.gpu
    assert cpu.run().startswith("COMPLETED")
    assert sorted(cpu.started()) == ["metrics/one.json", "metrics/two.json", "out/first-one", "out/first-two"]
    assert sorted(gpu.started()) == ["out/middle-one", "out/middle-two"]
    assert not (gpu.place / "exports").exists()
    assert {row["how"] for row in cpu.artifact("stages")} == {"ran"}


def test_the_result_is_that_of_one_machine(machines, tmp_path):
    """The merged dvc.lock has the hashes that one machine alone gets."""
    alone = tmp_path / "alone"
    shutil.copytree(machines.cpu.place, alone, ignore=shutil.ignore_patterns(".state", "out", "metrics", "cache"))
    (alone / "dvc.lock").unlink()
    Server(alone).call("dvc", "repro", "-q")
    merged, single = (yaml.safe_load((place / "dvc.lock").read_text()) for place in (machines.cpu.place, alone))
    assert merged == single


def test_a_second_run_has_nothing_to_do(machines):
    before = machines.gpu.started()
    assert machines.cpu.run().startswith("COMPLETED")
    assert machines.gpu.started() == before
    assert graph.read(machines.cpu.place, pools=GPU_LESS).to_run() == []
    machines.cpu.call("dvc", "pull")
    assert "up to date" in machines.cpu.call("dvc", "repro")


def test_what_changed_upstream_is_made_again_on_both(machines):
    """Old data of the former run lies on the GPU machine; it is the new one's that the stage reads."""
    machines.edit(7)
    assert machines.cpu.run().startswith("COMPLETED")
    ran = {row["stage"]: row["how"] for row in machines.cpu.artifact("stages")}
    assert ran["middle@one"] == "ran" and ran["middle@two"] == "unchanged"
    machines.cpu.call("dvc", "pull")
    assert "up to date" in machines.cpu.call("dvc", "repro")


def test_a_checkout_that_differs_is_refused_by_name(machines):
    program = machines.gpu.place / "work.py"
    text = program.read_text()
    edit_seed(machines.cpu.place, 8)
    program.write_text(text + "# otherwise\n")
    said = machines.cpu.run()
    assert said.startswith("FAILED") and "middle@one" in said and "params.yaml and 1 more on this machine" in said
    program.write_text(text)
    edit_seed(machines.gpu.place, 8)
    assert machines.cpu.run().startswith("COMPLETED")


def test_cancelling_the_run_ends_the_stage_elsewhere(machines):
    (machines.gpu.place / "slow").write_text("middle-one")
    machines.edit(9)
    run = machines.cpu.submit()
    wait_until(machines.gpu.asleep, "the stage is at work elsewhere")
    machines.cpu.cancel(run)
    took = wait_until(lambda: not machines.gpu.at_work(), "no process is left")
    print(f"cancelled elsewhere: no process left after {took:.1f} s")
    assert machines.cpu.finish(run).startswith("CANCELLED")
    (machines.gpu.place / "slow").unlink()


def test_without_a_worker_the_run_fails_and_says_whose(machines):
    machines.gpu.call("flows.server", "stop")
    said = machines.cpu.run()
    assert said.startswith("FAILED")
    assert "no worker is online on the work pool gpu" in said
    machines.work()
    assert machines.cpu.run().startswith("COMPLETED")
    kept = subprocess.run(
        ["git", "status", "--porcelain"], cwd=machines.cpu.place, capture_output=True, text=True, check=True
    )
    changed = {line[3:].split("/")[0] for line in kept.stdout.splitlines()}
    assert changed <= {"dvc.lock", "params.yaml", "metrics", "report"}
