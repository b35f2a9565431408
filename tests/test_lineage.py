"""Lineage of a file: its rows, parameters, code and commit, as dvc.lock, history and shards record them."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from flows import history
from flows.lineage import lineage, lines_of, trace
from flows.remote import load_remote, save_remote
from flows.rows import split_member
from flows.storage import PLACE
from tests import toy_graph
from textgan.errors import UserError

SHARD = "data/images/catcar/train-00000.tar"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits: the first result, and one that changes a note but no byte of it."""
    place = toy_graph.make(tmp_path_factory.mktemp("lineage") / "toy")
    (place / "NOTICE").write_text("A note.\n")
    toy_graph.commit(place, "A note")
    return place


@pytest.fixture(autouse=True)
def inside(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lineage is asked in the repository."""
    monkeypatch.chdir(repository)


def first_commit() -> str:
    """The commit that made the result."""
    return history.git("rev-list", "--max-parents=0", "HEAD").strip()


def test_a_shard_leads_to_its_lmdb_keys_in_order() -> None:
    """As many entries as members, in the tar's order, each with the inventory's key and hash of the value."""
    answer = trace(SHARD)
    with tarfile.open(SHARD) as tar:
        members = [info.name.removesuffix(".jpg") for info in tar]
    assert answer.rows is not None and [row.sample_key for row in answer.rows] == members
    assert {f"{row.export}-{row.lmdb_key}" for row in answer.rows} == set(members)
    assert all(row.sha256 == hashlib.sha256(row.lmdb_key.encode()).hexdigest() for row in answer.rows)
    assert answer.counts["car"]["rejected (truncated)"] == 1
    assert sum(sum(counts.values()) for counts in answer.counts.values()) == 24


def test_one_member_and_the_pairs_beside_it() -> None:
    """A member has one row; the Parquet shard of the same name has the tar's rows."""
    member = trace(f"{SHARD}/cat-cat0001.jpg").rows
    assert member is not None and [(row.export, row.lmdb_key) for row in member] == [("cat", "cat0001")]
    assert trace("data/pairs/catcar/train-00000.parquet").rows == trace(SHARD).rows
    with pytest.raises(UserError, match="has no member 'dog.jpg'"):
        trace(f"{SHARD}/dog.jpg")
    assert split_member("a/b.tar") == ("a/b.tar", "")


def test_a_model_names_every_stage_behind_it_and_the_commit_that_made_it() -> None:
    """The oldest commit with these bytes made them; stages are listed up to the drawn export with their parameters."""
    answer = trace("models/catcar/G_ema.safetensors")
    assert (answer.commit, answer.also_in) == (first_commit(), 1)
    stages = {stage["name"]: stage for stage in answer.stages}
    assert list(stages)[0] == "train@catcar"
    assert set(stages) == {f"{name}@catcar" for name in ("train", "images", "pairs", "ingest", "draw")}
    assert stages["ingest@catcar"]["params"]["datasets.catcar.ingest"]["test"] == 0.15
    assert {code["commit"] for stage in answer.stages for code in stage["code"]} == {first_commit()}
    assert [export["path"] for export in answer.exports] == ["data/exports/catcar"]
    assert answer.rows is None and not answer.notes


@pytest.mark.parametrize("kind", ["md5", "sha256", "prefix"])
def test_a_hash_finds_the_same_file_as_its_path(kind: str) -> None:
    """By md5 as DVC has it, by sha256 as releases and manifests have it, by the first digits of either."""
    for path in (SHARD, "models/catcar/G_ema.safetensors"):
        payload = Path(path).read_bytes()
        md5, sha256 = hashlib.md5(payload, usedforsecurity=False).hexdigest(), hashlib.sha256(payload).hexdigest()
        assert trace({"md5": md5, "sha256": sha256, "prefix": sha256[:12]}[kind]) == trace(path)


def test_a_version_that_only_an_older_commit_has_is_found(repository: Path, tmp_path: Path) -> None:
    """After another result is committed, the old snapshot's hash still leads to its own parameters and commit."""
    clone = tmp_path / "clone"
    subprocess.run(["cp", "-a", str(repository), str(clone)], check=True)
    old = hashlib.md5((clone / "models/catcar/G_ema.safetensors").read_bytes(), usedforsecurity=False).hexdigest()
    params = (clone / "params.yaml").read_text()
    head, train, tail = params.partition("    train:\n      seed: 0")
    assert train
    (clone / "params.yaml").write_text(f"{head}{train[:-1]}7{tail}")
    toy_graph.run(clone, "python", "-m", "dvc", "repro", "-q", "train@catcar")
    later = toy_graph.commit(clone, "Another seed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        before, after = trace(old), trace("models/catcar/G_ema.safetensors")
    assert (before.commit, after.commit) == (first_commit(), later)
    seeds = [answer.stages[0]["params"]["datasets.catcar.train"]["seed"] for answer in (before, after)]
    assert seeds == [0, 7]


def test_a_shallow_clone_says_that_it_does_not_see_who_was_first(repository: Path, tmp_path: Path) -> None:
    """Its oldest commit records the bytes, and so may one that it lacks."""
    clone = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth", "1", repository.as_uri(), str(clone)], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        answer = trace("models/catcar")
    assert answer.commit and answer.commit != first_commit()
    [note] = [note for note in answer.notes if "shallow" in note]
    assert "may have recorded it first" in note and "git fetch --unshallow" in note


def test_code_that_was_never_committed_is_said(repository: Path, tmp_path: Path) -> None:
    """A result made by other code than any commit has cannot be traced to one."""
    clone = tmp_path / "clone"
    subprocess.run(["cp", "-a", str(repository), str(clone)], check=True)
    lock = (clone / "dvc.lock").read_text()
    md5 = hashlib.md5((clone / "make.py").read_bytes(), usedforsecurity=False).hexdigest()
    (clone / "dvc.lock").write_text(lock.replace(md5, "0" * 32))
    shutil.rmtree(clone / ".git")
    toy_graph.run(clone, "git", "init", "-q")
    toy_graph.commit(clone, "A lock of other code")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        answer = trace(SHARD)
    assert answer.stages[0]["code"][0]["commit"] is None
    assert any("never committed" in note for note in answer.notes)
    assert any("NEVER COMMITTED: make.py" in line for line in lines_of(answer))


def test_the_keys_are_found_where_the_first_inventory_is_gone(repository: Path, tmp_path: Path) -> None:
    """An older commit recorded the same shard by another inventory, which is gone: the present one tells."""
    clone = tmp_path / "clone"
    subprocess.run(["cp", "-a", str(repository), str(clone)], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        lock = (clone / "dvc.lock").read_text()
        [inventory] = history.present_lock()["ingest@catcar"].outs
        (clone / "dvc.lock").write_text(lock.replace(inventory.md5, "0" * 32 + ".dir"))
        shutil.rmtree(clone / ".git")
        toy_graph.run(clone, "git", "init", "-q")
        older = toy_graph.commit(clone, "Another inventory")
        (clone / "dvc.lock").write_text(lock)
        toy_graph.commit(clone, "The present one")
        answer = trace(SHARD)
    assert answer.commit == older and not answer.notes
    assert answer.rows is not None and len(answer.rows) == 17


def test_a_directory_at_a_commit_has_the_hash_that_dvc_gives_it(tmp_path: Path) -> None:
    """Code that a stage depends on as a directory is compared like a file."""
    clone = toy_graph.make(tmp_path / "clone")
    (clone / "code" / "below").mkdir(parents=True)
    for name in ("b.py", "a-b.py", "a.py", "below/c.py"):
        (clone / "code" / name).write_text(f"# {name}\n")
    yaml = (clone / "dvc.yaml").read_text()
    (clone / "dvc.yaml").write_text(yaml.replace("        - make.py\n", "        - make.py\n        - code\n", 1))
    toy_graph.run(clone, "python", "-m", "dvc", "commit", "-q", "-f", "draw@catcar")
    commit = toy_graph.commit(clone, "A directory of code")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        recorded = {dep.path: dep.md5 for dep in history.present_lock()["draw@catcar"].deps}
        assert recorded["code"] == history.md5_at(commit, "code")
        assert history.md5_at(commit, "nothing") is None


def test_in_a_bare_clone_the_storage_tells_what_is_in_a_directory(tmp_path: Path) -> None:
    """By path and by hash, with no artifact brought; what cannot be known without it is said, not denied."""
    weights = "models/catcar/G_ema.safetensors"
    published = toy_graph.published()
    toy_graph.run(tmp_path, "git", "clone", "-q", str(published), "bare")
    md5 = hashlib.md5((published / weights).read_bytes(), usedforsecurity=False).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "bare")
        for what in (weights, SHARD):
            with pytest.raises(UserError, match=f"it may be in {Path(what).parent}, whose listing is neither here"):
                trace(what)
        with pytest.raises(UserError, match="the listings of . directories are neither here nor in the storage"):
            trace(md5)
        known = load_remote(published / PLACE)
        assert known is not None
        down = dataclasses.replace(known, endpoint="http://127.0.0.1:9")
        save_remote(PLACE, down)
        with pytest.raises(UserError, match="it may be in models/catcar"):
            trace(weights)
        save_remote(PLACE, known)
        for what in (weights, md5, md5[:12]):
            answer = trace(what)
            assert (answer.path, answer.md5, answer.out) == (weights, md5, "models/catcar")
        assert any("inventory.parquet" in note and "is not here" in note for note in answer.notes)
        assert trace(SHARD).path == SHARD and trace("data/images/catcar").rows is None
        for nowhere, more in (("models/catcar/nothing", "$"), ("0" * 32, "; of a sha256 only files that are here")):
            with pytest.raises(
                UserError, match=f"none of the . dvc.lock files of this tree and its history has it{more}"
            ):
                trace(nowhere)
        assert not Path(".dvc/cache").exists() and not Path("models").exists()


def test_the_page_is_that_of_the_stage_report(repository: Path, tmp_path: Path) -> None:
    """report/index.html is no out: it is the page of one with this machine's times in it, and the answer says so."""
    clone = tmp_path / "clone"
    subprocess.run(["cp", "-a", str(repository), str(clone)], check=True)
    (clone / "report" / "index.html").write_text("a page of today")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        answers = [trace("report/index.html"), trace(hashlib.sha256(b"a page of today").hexdigest()[:16])]
        found = trace(hashlib.sha256(b"a page").hexdigest())
    for answer in (*answers, found):
        assert answer.path == "report/content/page.html"
        assert answer.md5 == hashlib.md5(b"a page", usedforsecurity=False).hexdigest()
        assert any("times and hardware" in note for note in answer.notes)


def test_what_a_stage_reads_of_a_whole_directory_is_an_input_and_no_code() -> None:
    """The report reads data/evaluation, of which each dataset's stage makes a part; that nobody commits it is right."""
    answer = trace("report/content/page.html")
    report = answer.stages[0]
    assert report["name"] == "report" and [stage["name"] for stage in answer.stages[1:3]] == [
        "evaluate@catcar",
        "train@catcar",
    ]
    assert [dep["path"] for dep in report["inputs"]] == ["data/evaluation"]
    assert [dep["path"] for dep in report["code"]] == ["make.py"]
    assert [export["path"] for export in answer.exports] == ["data/exports/catcar"]
    assert not any("NEVER COMMITTED" in line or "never committed" in line for line in lines_of(answer))


def test_what_nothing_recorded_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown paths, unknown hashes, places outside, a tree without a lock."""
    for what, rule in (
        ("make.py", "none of the"),
        ("0" * 32, "none of the"),
        ("/etc/hosts", "not in this"),
        ("../x", "not in"),
    ):
        with pytest.raises(UserError, match=rule):
            trace(what)
    lineage(SHARD, keys=True)
    assert capsys.readouterr().out.count("value sha256") == 17
    lineage(SHARD, as_json=True)
    assert '"lmdb_key": "cat0001"' in capsys.readouterr().out
