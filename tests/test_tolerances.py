"""Tolerances come from runs that were made, and hold for what those runs trained."""

from __future__ import annotations

import copy
import functools
import json
import operator
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


PARAMS = {
    "preset": "sample",
    "draw": {"catcar": {"images": 4}},
    "datasets": {"catcar": {"train": {"total_kimg": 34, "seed": 0}, "evaluate": {"num_images": 1000}}},
}
MEASURED = {"commit": "abc", "cpu": "abacus"}


def changed(keys: str, value: object) -> dict:
    """PARAMS with one value in place of another."""
    params = copy.deepcopy(PARAMS)
    *above, last = keys.split(".")
    functools.reduce(operator.getitem, above, params)[last] = value
    return params


def written(place: Path, trainings: list, evaluations: list = EVALUATIONS) -> Path:
    found = {"training": trainings, "evaluation": evaluations}
    tables = {
        table: tolerances.section(table, runs, tolerances.parameters_of(PARAMS, "catcar"), MEASURED)
        for table, runs in found.items()
        if runs
    }
    place.write_text(json.dumps({"sample": {"catcar": tables}}))
    return place


def test_a_tolerance_is_the_greatest_difference_of_two_runs_and_says_which(tmp_path):
    found = tolerances.load(PARAMS, "catcar", written(tmp_path / "t.json", TRAININGS))
    assert found["training"].metrics == pytest.approx({"kid": 0.2, "colour": 0.2})
    assert "of 3 runs for training of sample with catcar (seed 0, threads 2; seed 1" in found["training"].source
    assert found["evaluation"].metrics == pytest.approx({"kid": 0.003, "colour": 0.0})
    assert "threads 2, instructions avx2" in found["evaluation"].source
    assert found["evaluation"].source.endswith("measured at abc, abacus")


@pytest.mark.parametrize(
    ("params", "dataset", "runs", "why"),
    [
        (changed("preset", "photos-cpu"), "catcar", TRAININGS, "has no training of photos-cpu"),
        (PARAMS, "cat", TRAININGS, "with cat"),
        (
            changed("datasets.catcar.train.total_kimg", 40),
            "catcar",
            TRAININGS,
            "train.total_kimg 34, the commit has 40",
        ),
        (changed("datasets.catcar.train.d_lr", 0.1), "catcar", TRAININGS, "train.d_lr None, the commit has 0.1"),
        (changed("datasets.catcar.evaluate", {}), "catcar", TRAININGS, "evaluate.num_images 1000, the commit has None"),
        (changed("draw.catcar.images", 5), "catcar", TRAININGS, "draw.images 4, the commit has 5"),
        (changed("datasets", 3), "catcar", TRAININGS, "the commit has None"),
        (PARAMS, "catcar", TRAININGS[:2], "has 2 runs"),
        (PARAMS, "catcar", [], "has no training of sample"),
    ],
)
def test_what_was_not_measured_has_no_tolerance(tmp_path, params, dataset, runs, why):
    """Then numbers must be equal, and the verdict says why."""
    found = tolerances.load(params, dataset, written(tmp_path / "t.json", runs))["training"]
    assert found.metrics == {} and why in found.source and found.source.startswith("none: ")
    assert all(not table.metrics for table in tolerances.load(params, dataset, tmp_path / "none.json").values())


def test_the_seed_of_the_training_is_what_the_tables_vary(tmp_path):
    place = written(tmp_path / "t.json", TRAININGS)
    assert tolerances.load(changed("datasets.catcar.train.seed", 9), "catcar", place)["training"].metrics["kid"] > 0


def test_seeds_excuse_no_evaluation_and_nothing_excuses_the_recorded_machine(tmp_path):
    """A snapshot measured again differs by rounding at most; on the same machine not even by that."""
    tables = tolerances.load(PARAMS, "catcar", written(tmp_path / "t.json", TRAININGS))
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
