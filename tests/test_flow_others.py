"""nightly, reproduce and sweep by a real server, from an export that changes to a release; what goes wrong says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import toy_graph
from tests.flow_server import Server, serving, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(2400)]
LMDB_HEAD = b"\0" * 16 + b"\xde\xc0\xef\xbe"
QUALITY = '''
def quality():
    """The export's last byte decides how good its models are; each stage hands it on."""
    if stage == "ingest":
        return open("data/exports/catcar/cat/data.mdb", "rb").read()[-1]
    source = {"images": "data/inventory", "train": "data/images", "evaluate": "models"}[stage]
    return int((Path(source) / name / "quality").read_text())
'''


def with_export(place: Path) -> Path:
    """The toy repository with linked exports instead of drawn ones, and metrics that the export decides."""
    value = yaml.safe_load((place / "dvc.yaml").read_text())
    del value["stages"]["draw"]
    (place / "dvc.yaml").write_text(yaml.safe_dump(value, sort_keys=False))
    params = yaml.safe_load((place / "params.yaml").read_text())
    params["draw"] = {}
    (place / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    program = (place / "make.py").read_text()
    program = program.replace("\nparams = ", f"\n{QUALITY}\nparams = ", 1)
    program = program.replace('"bytes": 100 + idx', '"bytes": 100 + idx + quality()')
    program = program.replace(
        "tuple(hashlib.sha256(key.encode())", "tuple(hashlib.sha256((key + str(quality())).encode())"
    )
    program = program.replace('f"weights {seed}"', 'f"weights {seed} {quality()}"')
    both = '{"metrics": {"kid1k_lite2_test": 0.125'  # git's metrics and evaluate's own are the same numbers
    program = program.replace(f"{both}}}", f'{both}, "agreement_colour_600_heldout": 0.75, "fid": None}}')
    program = program.replace("0.125", "(0.5 - quality() / 1000 + params['datasets'][name]['train']['seed'] / 10000)")
    program += "\nif stage in ('ingest', 'images', 'train'):\n    (out / 'quality').write_text(str(quality()))\n"
    (place / "make.py").write_text(program)
    with open(place / ".gitignore", "a") as file:
        file.write("/exports.local.yaml\n/flows\n/dvc-exp\n")
    (place / "requirements.lock").write_text("# as here\n")
    shutil.rmtree(place / "data")
    (place / "dvc.lock").unlink()
    return place


def export(place: Path, quality: int) -> None:
    """New exports at the places that exports.local.yaml names."""
    for name in ("cat", "car"):
        directory = place.parent / "lsun" / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "data.mdb").write_bytes(LMDB_HEAD + name.encode() * 500 + bytes([quality]))
    places = {name: str(place.parent / "lsun" / name) for name in ("cat", "car")}
    (place / "exports.local.yaml").write_text(yaml.safe_dump(places))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = with_export(toy_graph.make(tmp_path_factory.mktemp("others") / "toy"))
    export(place, 10)
    with serving(place, "nightly", "reproduce", "sweep", "pipeline") as server:
        yield server


def releases(server: Server) -> int:
    return len([line for line in server.call("textgan.cli", "releases").splitlines() if line.strip()])


def test_the_first_night_publishes_and_a_night_without_news_does_not(server):
    assert server.run("nightly/nightly").startswith("COMPLETED")
    assert "Published: there is no release yet" in server.artifact("nightly")
    count = releases(server)
    assert server.run("nightly/nightly").startswith("COMPLETED")
    assert "Not published" in server.artifact("nightly") and "Stages that ran: none" in server.artifact("nightly")
    assert releases(server) == count


def test_a_better_export_is_built_committed_and_published(server):
    count = releases(server)
    export(server.place, 50)
    assert server.run("nightly/nightly").startswith("COMPLETED")
    assert "Published" in server.artifact("nightly") and "is better" in server.artifact("nightly")
    assert "train@catcar" in server.artifact("nightly")
    assert releases(server) > count
    assert toy_graph.run(server.place, "git", "status", "--porcelain") == ""


def test_a_worse_export_is_built_and_not_published(server):
    count = releases(server)
    export(server.place, 5)
    assert server.run("nightly/nightly").startswith("COMPLETED")
    assert "Not published" in server.artifact("nightly") and "is worse" in server.artifact("nightly")
    assert releases(server) == count


def test_a_dirty_tree_is_refused_at_once(server):
    (server.place / "notes.txt").write_text("mine")
    said = server.run("nightly/nightly")
    (server.place / "notes.txt").unlink()
    assert said.startswith("FAILED") and "notes.txt differs from the commit" in said


def test_reproduce_gives_a_verdict(server):
    assert server.run("reproduce/reproduce", commit="HEAD").startswith("COMPLETED")
    rows = server.artifact("verdict")
    assert {row["verdict"] for row in rows} <= {"identical", "restored, not rerun"}
    said = server.run("reproduce/reproduce", commit="nowhere")
    assert said.startswith("FAILED") and "commit 'nowhere': not in this clone" in said


def test_a_sweep_is_ranked(server):
    grid = {"datasets.catcar.train.seed": [30, 20]}
    settings = {"grid": grid, "dataset": "catcar", "metric": "kid1k_lite2_test", "lower_is_better": True}
    for _ in range(2):  # the same sweep again is no conflict of names
        run = server.submit("sweep/sweep", **settings)
        assert server.finish(run).startswith("COMPLETED")
    assert not server.said("Running stage 'ingest@catcar'", [run])
    rows = server.artifact("sweep")
    assert [row["datasets.catcar.train.seed"] for row in rows] == [20, 30]
    assert toy_graph.run(server.place, "git", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"secret_key": "wrong"}, "refuses the credentials"),
        ({"endpoint": "http://127.0.0.1:1", "attached_to": "http://127.0.0.1:1"}, "does not answer"),
    ],
)
def test_a_storage_that_cannot_be_had_is_one_line_and_no_storm(server, change, words):
    """The storage is asked once at the start; no stage runs, nothing is tried again."""
    file = server.place / ".state" / "storage" / "remote.json"
    right = file.read_text()
    export(server.place, 60)
    file.write_text(json.dumps({**json.loads(right), **change}))
    run = server.submit()
    said = server.finish(run)
    file.write_text(right)
    assert said.startswith("FAILED") and "storage: http://127.0.0.1" in said and words in said
    assert server.ask("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}}) == []
    assert server.files_with(json.loads(right)["secret_key"]) == []


def test_a_cycle_is_one_line(server):
    file = server.place / "dvc.yaml"
    right = file.read_text()
    value = yaml.safe_load(right)
    value["stages"]["ingest"]["do"]["deps"].append("models/${item}")
    file.write_text(yaml.safe_dump(value))
    said = server.run()
    file.write_text(right)
    assert said.startswith("FAILED") and "dvc.yaml: " in said and "cycle" in said


@pytest.mark.parametrize(
    ("code", "words"),
    [("time.sleep(600)", "timeout_seconds 30"), ("raise OSError(28, 'No space left on device')", "No space left")],
)
def test_a_stage_that_hangs_or_finds_no_space_fails_once(server, code, words):
    """The stage counts its tries: its last lines may come after the run's end. DVC's own start is within the 30 s."""
    program, graph, tries = (server.place / name for name in ("make.py", "dvc.yaml", "tries"))
    right, before = program.read_text(), graph.read_text()
    value = yaml.safe_load(before)
    value["stages"]["pairs"]["do"]["meta"] = {"timeout_seconds": 30}
    graph.write_text(yaml.safe_dump(value, sort_keys=False))
    code = f"open('tries', 'a').write('x')\n    {code}"
    program.write_text(f"import time\n{right}".replace('elif stage == "pairs":', f'elif stage == "pairs":\n    {code}'))
    run = server.submit(targets=["pairs@catcar"])
    said = server.finish(run)
    program.write_text(right)
    graph.write_text(before)
    assert tries.read_text() == "x"
    tries.unlink()
    wait_until(lambda: server.said("Running stage 'pairs@catcar'", [run]), "the log has the stage")
    assert said.startswith("FAILED") and "pairs@catcar" in said and words in said
