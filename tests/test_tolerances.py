"""Tolerances come from runs that were made, and hold for what those runs trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows import environment, tolerances

TRAININGS = [
    {"seed": 0, "threads": 2, "metrics": {"kid": 0.5, "colour": 0.80, "name": "a"}},
    {"seed": 1, "threads": 2, "metrics": {"kid": 0.7, "colour": 0.70, "name": "b"}},
    {"seed": 0, "threads": 1, "metrics": {"kid": 0.6, "colour": 0.90, "fid": None, "name": "c"}},
]
EVALUATIONS = [
    {"threads": 2, "instructions": "native", "metrics": {"kid": 0.500, "colour": 0.80}},
    {"threads": 1, "instructions": "native", "metrics": {"kid": 0.501, "colour": 0.80}},
    {"threads": 2, "instructions": "avx2", "metrics": {"kid": 0.503, "colour": 0.80}},
]


def written(place: Path, trainings: list, evaluations: list = EVALUATIONS) -> Path:
    found = {"training": trainings, "evaluation": evaluations}
    tables = {table: tolerances.section(table, runs, 34) for table, runs in found.items() if runs}
    place.write_text(json.dumps({"sample": {"catcar": tables}}))
    return place


def test_a_tolerance_is_the_greatest_difference_of_two_runs_and_says_which(tmp_path):
    found = tolerances.load("sample", "catcar", 34, written(tmp_path / "t.json", TRAININGS))
    assert found["training"].metrics == pytest.approx({"kid": 0.2, "colour": 0.2})
    assert "of 3 runs for training of sample with catcar (seed 0, threads 2; seed 1" in found["training"].source
    assert found["evaluation"].metrics == pytest.approx({"kid": 0.003, "colour": 0.0})
    assert "threads 2, instructions avx2" in found["evaluation"].source


@pytest.mark.parametrize(
    ("preset", "dataset", "kimg", "runs", "why"),
    [
        ("photos-cpu", "catcar", 34, TRAININGS, "has no training of photos-cpu"),
        ("sample", "cat", 34, TRAININGS, "with cat"),
        ("sample", "catcar", 40, TRAININGS, "measured 34 kimg, the commit trains 40"),
        ("sample", "catcar", 34, TRAININGS[:2], "has 2 runs"),
        ("sample", "catcar", 34, [], "has no training of sample"),
    ],
)
def test_what_was_not_measured_has_no_tolerance(tmp_path, preset, dataset, kimg, runs, why):
    """Then numbers must be equal, and the verdict says why."""
    found = tolerances.load(preset, dataset, kimg, written(tmp_path / "t.json", runs))["training"]
    assert found.metrics == {} and why in found.source
    assert all(not table.metrics for table in tolerances.load(preset, dataset, kimg, tmp_path / "none.json").values())


def test_seeds_excuse_no_evaluation_and_nothing_excuses_the_recorded_machine(tmp_path):
    """A snapshot measured again differs by rounding at most; on the same machine not even by that."""
    tables = tolerances.load("sample", "catcar", 34, written(tmp_path / "t.json", TRAININGS))
    assert tolerances.holding(tables, [], True) == tolerances.holding(tables, [], False)
    assert tolerances.holding(tables, [], False).metrics == {}
    assert tolerances.holding(tables, ["cpu a / b"], True) == tables["evaluation"]
    assert tolerances.holding(tables, ["cpu a / b"], False) == tables["training"]


def test_only_what_can_change_a_float_makes_a_machine_another(tmp_path, monkeypatch):
    """And a record survives being written."""
    monkeypatch.chdir(tmp_path)
    environment.record({"train@d": 3.5})
    before, seconds = environment.recorded(tmp_path)
    assert seconds == {"train@d": 3.5} and before == environment.present() and before["cpu"] and before["torch"]
    assert environment.unlike(before, {**before, "system": "another"}) == []
    assert environment.unlike(before, {**before, "cores": "1000"}) == [f"cores {before['cores']} / 1000"]
    assert before["instructions"] in (*environment.INSTRUCTIONS, "unknown")
    assert environment.unlike(before, {**before, "cpu": "abacus"}) == [f"cpu {before['cpu']} / abacus"]
    assert environment.unlike({}, before) == []
    shown = environment.table(before, {**before, "cpu": "abacus"}).splitlines()
    assert [line.split()[0] for line in shown if " * " in line] == ["cpu"]
    assert "no report/run.json" in environment.table({}, before)
