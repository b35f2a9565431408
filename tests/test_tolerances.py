"""Tolerances come from runs that were made, and hold for what those runs trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows import environment, tolerances

RUNS = [
    {"seed": 0, "threads": 2, "metrics": {"kid": 0.5, "colour": 0.80, "name": "a"}},
    {"seed": 1, "threads": 2, "metrics": {"kid": 0.7, "colour": 0.70, "name": "b"}},
    {"seed": 0, "threads": 1, "metrics": {"kid": 0.6, "colour": 0.90, "fid": None, "name": "c"}},
]


def written(place: Path, runs: list) -> Path:
    place.write_text(json.dumps({"sample": {"catcar": tolerances.section(runs, 34)}}))
    return place


def test_a_tolerance_is_the_greatest_difference_of_two_runs_and_says_which(tmp_path):
    found = tolerances.load("sample", "catcar", 34, written(tmp_path / "t.json", RUNS))
    assert found.metrics == pytest.approx({"kid": 0.2, "colour": 0.2})
    assert "greatest difference of 3 runs (seed 0 with 2 threads, seed 1 with 2 threads" in found.source


@pytest.mark.parametrize(
    ("preset", "dataset", "kimg", "runs", "why"),
    [
        ("photos-cpu", "catcar", 34, RUNS, "has no preset photos-cpu"),
        ("sample", "cat", 34, RUNS, "with cat"),
        ("sample", "catcar", 40, RUNS, "measured 34 kimg, the commit trains 40"),
        ("sample", "catcar", 34, RUNS[:2], "has 2 runs"),
    ],
)
def test_what_was_not_measured_has_no_tolerance(tmp_path, preset, dataset, kimg, runs, why):
    """Then numbers must be equal, and the verdict says why."""
    found = tolerances.load(preset, dataset, kimg, written(tmp_path / "t.json", runs))
    assert found.metrics == {} and why in found.source
    assert tolerances.load(preset, dataset, kimg, tmp_path / "none.json").metrics == {}


def test_only_what_can_change_a_float_makes_a_machine_another(tmp_path, monkeypatch):
    """And a record survives being written."""
    monkeypatch.chdir(tmp_path)
    environment.record({"train@d": 3.5})
    before, seconds = environment.recorded(tmp_path)
    assert seconds == {"train@d": 3.5} and before == environment.present() and before["cpu"] and before["torch"]
    assert environment.unlike(before, {**before, "cores": "1000"}) == []
    assert environment.unlike(before, {**before, "cpu": "abacus"}) == [f"cpu {before['cpu']} / abacus"]
    assert environment.unlike({}, before) == []
    shown = environment.table(before, {**before, "cpu": "abacus"}).splitlines()
    assert [line.split()[0] for line in shown if " * " in line] == ["cpu"]
    assert "no report/run.json" in environment.table({}, before)
