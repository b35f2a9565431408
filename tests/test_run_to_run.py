"""The benchmark of run-to-run spread: its plumbing, with stages that only write numbers."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from flows import tolerances
from tests import toy_graph
from textgan.errors import UserError

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """The module, in a tree that has a result of the sample preset."""
    spec = importlib.util.spec_from_file_location("run_to_run", REPOSITORY / "benchmarks" / "run_to_run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPOSITORY / "presets" / "sample.yaml", "params.yaml")
    for name in ("data/images", "data/pairs", "data/captions", "models"):
        (Path(name) / "catcar").mkdir(parents=True)
    Path("models/catcar-matcher").mkdir()
    Path("models/catcar/snapshot.json").write_text('{"weights_sha256": "abc"}')
    Path("textgan").mkdir()
    toy_graph.run(tmp_path, "git", "init", "-q")
    toy_graph.commit(tmp_path, "A result")
    ran: list[tuple[str, str]] = []

    def run_stage(stage: str, dataset: str, place: Path, own: dict[str, str]) -> None:
        threads = own.get("TEXTGAN_THREADS") or own["OMP_NUM_THREADS"]
        ran.append((stage, threads + (":avx2" if own.get("ATEN_CPU_CAPABILITY") == "avx2" else "")))
        seed = yaml.safe_load((place / "params.yaml").read_text())["datasets"][dataset]["train"]["seed"]
        assert (place / "data" / "images" / dataset).is_dir()
        assert (place / "models" / f"{dataset}-matcher").is_dir()
        out = place / "data" / "evaluation" / dataset
        if stage == "evaluate":
            out.mkdir(parents=True)
            value = 0.1 * seed + 0.01 * int(threads) if "TEXTGAN_THREADS" in own else 0.001 * int(threads)
            (out / "metrics.json").write_text(json.dumps({"metrics": {"kid": value}}))

    monkeypatch.setattr(module, "run_stage", run_stage)
    module.ran = ran
    return module


def test_each_run_is_made_once_and_the_file_serves_the_verdict(benchmark, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_to_run"])
    benchmark.main()
    benchmark.main()
    again = [("evaluate", threads) for threads in ("2", "1", "4", "2:avx2")]
    assert benchmark.ran == again + [(stage, threads) for threads in "2221" for stage in ("train", "evaluate")]
    value = yaml.safe_load(Path("params.yaml").read_text())
    value["datasets"]["catcar"]["train"]["seed"] = 7  # the tables hold for any
    found = tolerances.load(value, "catcar")
    assert found["training"].metrics == pytest.approx({"kid": 0.21})
    assert found["evaluation"].metrics == pytest.approx({"kid": 0.003})
    kept = json.loads(tolerances.PLACE.read_text())["sample"]["catcar"]
    assert kept["evaluation"]["snapshot"] == "abc"
    head = toy_graph.run(Path.cwd(), "git", "rev-parse", "HEAD").strip()
    assert {kept[table]["measured"]["commit"] for table in tolerances.TABLES} == {head[:12]}


@pytest.mark.parametrize(
    "changed", ["textgan/evaluate.py", "models/catcar-matcher/matcher.json", "data/pairs/catcar/a"]
)
def test_runs_of_other_code_or_data_are_made_again(benchmark, monkeypatch, changed):
    """Numbers of before and after would be no spread; code that no commit has is said."""
    monkeypatch.setattr(sys, "argv", ["run_to_run", "--runs"])
    benchmark.main()
    Path(changed).write_text("another\n")
    benchmark.main()
    assert benchmark.ran[4:] == benchmark.ran[:4] and len(benchmark.ran) == 8
    commit = json.loads(tolerances.PLACE.read_text())["sample"]["catcar"]["evaluation"]["measured"]["commit"]
    assert commit.endswith("-dirty") == changed.startswith("textgan")


def test_a_tree_without_a_result_is_one_line(benchmark, monkeypatch):
    Path("models/catcar-matcher").rmdir()
    monkeypatch.setattr(sys, "argv", ["run_to_run"])
    with pytest.raises(UserError, match="catcar-matcher: no such directory; `make repro`"):
        benchmark.main()
    assert benchmark.ran == []


def test_the_evaluations_alone_leave_the_trainings_as_they_were(benchmark, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_to_run"])
    benchmark.main()
    before = json.loads(tolerances.PLACE.read_text())["sample"]["catcar"]["training"]
    monkeypatch.setattr(sys, "argv", ["run_to_run", "--runs"])
    Path("models/catcar/snapshot.json").write_text('{"weights_sha256": "another"}')
    benchmark.main()
    assert benchmark.ran[-4:] == benchmark.ran[:4]
    kept = json.loads(tolerances.PLACE.read_text())["sample"]["catcar"]
    assert kept["training"] == before and kept["evaluation"]["snapshot"] == "another"


def test_a_trial_does_not_become_the_kept_file(benchmark, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_to_run", "--kimg", "1"])
    with pytest.raises(UserError, match="--out"):
        benchmark.main()
    assert benchmark.ran == [] and not tolerances.PLACE.exists()
