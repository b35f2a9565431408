"""What two machines tell each other: the lock that goes out, the entry that comes back, the sources that must agree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows import exchange, graph
from tests import tiny_repository as tiny
from textgan.errors import UserError

CPU = frozenset({"cpu"})


def dvc(place: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=place, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two checkouts of one commit; a directory stands for the S3 bucket, which is all that they share."""
    cpu = tiny.make(tmp_path / "cpu")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    shutil.copytree(cpu, tmp_path / "gpu")
    for place in (cpu, tmp_path / "gpu"):
        config = f"[core]\n    remote = shared\n['remote \"shared\"']\n    url = {tmp_path / 'bucket'}\n"
        (place / ".dvc" / "config.local").write_text(config)
    return cpu, tmp_path / "gpu"


def test_a_lock_goes_out_and_comes_back_with_the_stage(machines):
    """The data way of a run on two machines, step by step; then nothing is to do on either."""
    cpu, gpu = machines
    dvc(cpu, "repro", "-q", "-s", "first@one")
    dvc(cpu, "push", "-q")
    exchange.apply_lock(gpu, exchange.read_lock(cpu))
    dvc(gpu, "pull", "-q", "first@one")
    dvc(gpu, "repro", "-q", "--pull", "--allow-missing", "-s", "middle@one")
    dvc(gpu, "push", "-q", "middle@one")
    assert graph.read(cpu, ["middle@one"], CPU).to_run() == ["middle@one"]
    exchange.merge_lock(cpu, "middle@one", exchange.read_lock(gpu))
    assert not (cpu / "out" / "middle-one").exists()
    assert graph.read(cpu, ["middle@one"], CPU).to_run() == []
    assert graph.read(cpu, ["middle@one"]).to_run() == ["middle@one"]  # who runs all of it wants the data
    assert graph.read(cpu, ["evaluate@one"], CPU).to_run() == ["evaluate@one"]
    dvc(cpu, "pull", "-q", "middle@one")
    assert graph.read(cpu, ["middle@one"]).to_run() == []


def test_what_was_made_of_another_input_is_stale_though_it_is_missing(machines):
    """A dep that is not here is compared by what dvc.lock records of the stage that makes it."""
    cpu, _ = machines
    dvc(cpu, "repro", "-q", "middle@one")
    lock = yaml.safe_load((cpu / "dvc.lock").read_text())
    shutil.rmtree(cpu / "out" / "first-one")
    shutil.rmtree(cpu / "out" / "middle-one")
    assert graph.read(cpu, ["middle@one"], CPU).to_run() == []
    lock["stages"]["first@one"]["outs"][0]["md5"] = "0" * 32 + ".dir"
    (cpu / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    assert "middle@one" in graph.read(cpu, ["middle@one"], CPU).to_run()


def test_a_changed_parameter_makes_a_stage_stale_where_another_machine_runs_some(machines):
    """DVC names changed parameters in a mapping of their own."""
    cpu, _ = machines
    dvc(cpu, "repro", "-q", "first@one")
    params = yaml.safe_load((cpu / "params.yaml").read_text())
    params["draw"]["one"]["seed"] = 77
    (cpu / "params.yaml").write_text(yaml.safe_dump(params))
    assert graph.read(cpu, ["first@one"], CPU).to_run() == ["first@one"]


def test_merging_takes_one_stage_and_leaves_the_rest(machines):
    cpu, _ = machines
    mine = {"schema": "2.0", "stages": {"a": {"cmd": "a"}, "b": {"cmd": "old"}}}
    entry = {"cmd": "new", "outs": [{"path": "b"}]}
    theirs = {"schema": "2.0", "stages": {"a": {"cmd": "other"}, "b": entry}}
    (cpu / "dvc.lock").write_text(yaml.safe_dump(mine))
    exchange.merge_lock(cpu, "b", yaml.safe_dump(theirs))
    merged = yaml.safe_load((cpu / "dvc.lock").read_text())["stages"]
    assert merged == {"a": {"cmd": "a"}, "b": entry}
    with pytest.raises(UserError, match="c: the dvc.lock that came back has no entry"):
        exchange.merge_lock(cpu, "c", yaml.safe_dump(theirs))


def test_other_code_or_parameters_are_refused_by_name(machines):
    """Only what the stage depends on counts: its code, dvc.yaml and params.yaml."""
    cpu, gpu = machines
    stage = graph.read(cpu).stages["middle@one"]
    there = exchange.sources(cpu, stage)
    assert sorted(there) == ["dvc.yaml", "params.yaml", "work.py"]
    (gpu / "requirements.lock").write_text("other\n")
    exchange.check_sources(stage.name, exchange.sources(gpu, stage), there, "commit abc")
    (gpu / "work.py").write_text("other\n")
    with pytest.raises(UserError, match=r"middle@one: work\.py on this machine .* bring this checkout to commit abc"):
        exchange.check_sources(stage.name, exchange.sources(gpu, stage), there, "commit abc")


def test_the_request_holds_no_key(machines):
    """What goes through the storage is the lock and hashes."""
    cpu, _ = machines
    stage = graph.read(cpu).stages["middle@one"]
    commit = exchange.head(cpu)
    assert commit.startswith("commit ")
    assert "key" not in json.dumps([exchange.read_lock(cpu), exchange.sources(cpu, stage), commit])
