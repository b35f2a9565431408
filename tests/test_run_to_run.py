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
    for name in ("data/images/catcar", "data/pairs/catcar", "data/captions/catcar", "models/catcar-matcher"):
        Path(name).mkdir(parents=True)
    ran: list[tuple[str, int]] = []

    def run_stage(stage: str, dataset: str, place: Path, threads: int) -> None:
        ran.append((stage, threads))
        seed = yaml.safe_load((place / "params.yaml").read_text())["datasets"][dataset]["train"]["seed"]
        assert (place / "data" / "images" / dataset).is_dir()
        assert (place / "models" / f"{dataset}-matcher").is_dir()
        out = place / "data" / "evaluation" / dataset
        if stage == "evaluate":
            out.mkdir(parents=True)
            (out / "metrics.json").write_text(json.dumps({"metrics": {"kid": 0.1 * seed + 0.01 * threads}}))

    monkeypatch.setattr(module, "run_stage", run_stage)
    module.ran = ran
    return module


def test_each_run_is_made_once_and_the_file_serves_the_verdict(benchmark, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_to_run"])
    benchmark.main()
    benchmark.main()
    assert benchmark.ran == [(stage, threads) for threads in (2, 2, 2, 1) for stage in ("train", "evaluate")]
    kimg = yaml.safe_load(Path("params.yaml").read_text())["datasets"]["catcar"]["train"]["total_kimg"]
    found = tolerances.load("sample", "catcar", kimg)
    assert found.metrics == pytest.approx({"kid": 0.21})


def test_a_trial_does_not_become_the_kept_file(benchmark, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_to_run", "--kimg", "1"])
    with pytest.raises(UserError, match="--out"):
        benchmark.main()
    assert benchmark.ran == [] and not tolerances.PLACE.exists()
