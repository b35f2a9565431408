"""dvc.yaml is true: each stage lists all that it imports and every parameter belongs to a stage."""

from __future__ import annotations

import fcntl
import re
import threading
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from flows import graph
from pipeline import build
from textgan.errors import UserError
from textgan.metrics import measuring

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("textgan", "pipeline", "flows")
NOT_A_RESULT = {"textgan", "pipeline"}
"""Package files: they hold a version and a docstring."""
WHERE_AND_HOW_FAST = {"textgan.errors", "textgan.progress", "textgan.local", "textgan.cli"}
"""Modules that change no byte of an out: messages, progress bars, devices and worker counts."""


RUN_BY = {"textgan.evaluate": (measuring.PROGRAM,)}
"""Programs that a program runs without importing them."""


@pytest.fixture(scope="module")
def stages() -> dict[str, dict[str, Any]]:
    return {
        name: stage.get("do", stage)
        for name, stage in yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items()
    }


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def program_of(stage: dict[str, Any]) -> str:
    match = re.match(r"python -m ([\w.]+)", stage["cmd"])
    assert match, stage["cmd"]
    return match[1]


def test_deps_contain_every_first_party_module_that_the_stage_imports(stages, imports):
    """Otherwise a result survives the code that made it."""
    missing = []
    for name, stage in stages.items():
        program = program_of(stage)
        programs = {program, *RUN_BY.get(program, ())}
        modules = programs | {module for one in programs for module in imports.find_upstream_modules(one)}
        deps = [Path(dep) for dep in stage.get("deps", [])]
        for module in sorted(modules - NOT_A_RESULT - WHERE_AND_HOW_FAST):
            source = Path(*module.split("."))
            file = source / "__init__.py" if (REPOSITORY / source).is_dir() else source.with_suffix(".py")
            if file.name == "__init__.py" and not (REPOSITORY / file).read_text(encoding="utf-8").count("import"):
                continue
            if not any(dep == file or dep in file.parents for dep in deps):
                missing.append(f"{name}: {file}")
    assert missing == []


NOT_IN_UNFINISHED_WORK = {
    "pipeline.engines",
    "pipeline.work_places",
    "textgan.files",
    "textgan.manifest",
    "textgan.params",
}
"""Where and how fast; what is written anew at each publication; values, which stand in the identity by themselves."""


def test_unfinished_shards_know_all_code_that_decides_them(imports):
    """Otherwise an interrupted build goes on with shards that other code made."""
    modules = {"pipeline.build"} | imports.find_upstream_modules("pipeline.build")
    expected = modules - NOT_A_RESULT - WHERE_AND_HOW_FAST - NOT_IN_UNFINISHED_WORK
    assert {name.removesuffix(".py").replace("/", ".") for name in build.CODE} == expected


def test_deps_and_code_exist(stages):
    """A dep that is code names a file that is there."""
    code = {
        dep for stage in stages.values() for dep in stage.get("deps", []) if dep.startswith(("textgan", "pipeline"))
    }
    assert [dep for dep in sorted(code) if not (REPOSITORY / dep).exists()] == []


def test_every_key_of_params_is_claimed_by_a_stage(stages):
    """A number that no stage lists could change without anything being made again."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    claimed = {param.replace(".${key}", "") for stage in stages.values() for param in stage.get("params", [])}
    sections = {f"datasets.{section}" for dataset in params["datasets"].values() for section in dataset}
    wanted = sections | {"draw"}
    unclaimed = {key for key in wanted if not any(key == one or one.startswith(f"{key}.") for one in claimed)}
    assert unclaimed == set()


def test_no_stage_says_how_fast_or_where(stages):
    """Workers and devices in a cmd would make a stage stale on another machine."""
    assert [stage["cmd"] for stage in stages.values() if re.search(r"--|worker|device|cuda", stage["cmd"])] == []


def test_every_stage_has_a_known_pool_and_a_timeout(stages):
    for name, stage in stages.items():
        meta = stage.get("meta", {})
        assert meta.get("pool") in ("cpu", "gpu"), name
        assert meta.get("timeout_seconds", 0) > 0, name


def test_graph_orders_stages_behind_what_they_wait_for(tiny_repository):
    """`read` is DVC's graph; `to_run` is what is stale and all below it."""
    found = graph.read(tiny_repository)
    seen: set[str] = set()
    for name, stage in found.stages.items():
        assert set(stage.waits_for) <= seen
        seen.add(name)
    assert found.to_run() == list(found.stages)
    partial = graph.read(tiny_repository, ["middle@one"])
    assert list(partial.stages) == ["first@one", "middle@one"]


def test_pool_timeout_and_retries_come_from_meta(tiny_repository):
    """Nothing said: the pool cpu, no end, and no second try."""
    file = tiny_repository / "dvc.yaml"
    value = yaml.safe_load(file.read_text(encoding="utf-8"))
    value["stages"]["first"]["do"]["meta"] = {"retries": 2}
    file.write_text(yaml.safe_dump(value), encoding="utf-8")
    stages = graph.read(tiny_repository).stages
    first, middle = stages["first@one"], stages["middle@one"]
    assert (first.pool, first.timeout_seconds, first.retries) == ("cpu", None, 2)
    assert (middle.pool, middle.timeout_seconds, middle.retries) == ("gpu", 60.0, 0)


def test_a_dvc_at_work_is_waited_for(tiny_repository):
    """DVC itself gives up after 3 s; a push by hand takes minutes."""
    (tiny_repository / ".dvc" / "tmp").mkdir()
    held = open(tiny_repository / ".dvc" / "tmp" / "lock", "a")
    fcntl.flock(held, fcntl.LOCK_EX)
    threading.Timer(4.0, held.close).start()
    assert len(graph.read(tiny_repository).stages) == 6


def test_unknown_target_names_the_stages_there_are(tiny_repository):
    with pytest.raises(UserError, match=r"target 'nowhere' is no stage; there are .*middle@one"):
        graph.read(tiny_repository, ["nowhere"])


def test_a_cycle_is_refused_in_one_line(tiny_repository):
    file = tiny_repository / "dvc.yaml"
    value = yaml.safe_load(file.read_text(encoding="utf-8"))
    value["stages"]["first"]["do"]["deps"] = ["out/middle-${key}"]
    file.write_text(yaml.safe_dump(value), encoding="utf-8")
    with pytest.raises(UserError, match=r"dvc\.yaml: its stages are a cycle: .*first@one"):
        graph.read(tiny_repository)
