"""A commit made again ends with a verdict that cannot be mistaken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import commit, storage
from flows.verdict import CLOSE, DIFFERENT, IDENTICAL, RESTORED, UNKNOWN, Row, Verdict, compare_metrics
from tests import tiny_repository as tiny
from tests.tiny_repository import textgan


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A tiny repository whose result is committed and pushed, and that commit."""
    with tiny.with_result(tmp_path_factory.mktemp("reproduce") / "tiny") as made:
        yield made


def verdict_of(place: Path, sha: str) -> dict[str, dict[str, str]]:
    value = json.loads((place / storage.STATE / "verdicts" / sha[:12] / "verdict.json").read_text())
    return {
        "stages": {row["name"]: row["verdict"] for row in value["stages"]},
        "metrics": {row["name"]: row["verdict"] for row in value["metrics"]},
    }


@pytest.mark.slow
def test_a_pushed_result_is_restored_and_its_metrics_are_identical(repository):
    place, sha = repository
    done = textgan(place, "reproduce", sha)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(verdict_of(place, sha)["stages"].values()) == {RESTORED}
    assert set(verdict_of(place, sha)["metrics"].values()) == {IDENTICAL}


@pytest.mark.slow
def test_from_raw_runs_every_stage_again(repository, tmp_path):
    place, sha = repository
    done = textgan(place, "reproduce", sha, "--from-raw", "--keep", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads((tmp_path / "kept" / "verdict.json").read_text())
    assert {row["verdict"] for row in verdict["stages"]} == {IDENTICAL}
    assert len((tmp_path / "kept" / "pids").read_text().splitlines()) == 6


@pytest.mark.slow
def test_tampered_parameters_are_found_and_the_stage_is_named(repository):
    place, _sha = repository
    params = place / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("    images: 1\n    seed: 1\n", "    images: 1\n    seed: 9\n"))
    sha = tiny.commit(place, "tampered")
    done = textgan(place, "reproduce", sha, "--verify", "hashes")
    params.write_text(before)
    tiny.commit(place, "mended")
    assert done.returncode == 1
    assert "first@one" in done.stdout.splitlines()[-2]
    assert verdict_of(place, sha)["stages"]["first@two"] == RESTORED


@pytest.mark.slow
def test_a_lock_that_nobody_ran_does_not_pass_from_raw(repository):
    place, _sha = repository
    lock = place / "dvc.lock"
    before = lock.read_text()
    forged = [line for line in before.splitlines() if "md5:" in line and ".dir" in line][-1].split()[-1]
    lock.write_text(before.replace(forged, "0" * 32 + ".dir"))
    sha = tiny.commit(place, "forged")
    done = textgan(place, "reproduce", sha, "--from-raw")
    lock.write_text(before)
    tiny.commit(place, "mended again")
    assert done.returncode == 1, done.stdout + done.stderr


@pytest.mark.slow
def test_a_commit_without_a_lock_cannot_be_verified(repository):
    place, sha = repository
    done = textgan(place, "reproduce", f"{sha}~1")
    assert done.returncode == 2
    assert "nobody recorded a result" in done.stdout


def test_an_unknown_commit_is_one_line(tiny_repository):
    done = textgan(tiny_repository, "reproduce", "0123abc")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == ["error: commit '0123abc': not in this clone; `git fetch` may bring it"]


def test_our_hash_of_a_directory_is_dvcs(tiny_repository):
    """`dvc_hash` is computed without DVC, so that a fault of DVC's cannot hide itself."""
    from dvc.repo import Repo

    directory = tiny_repository / "out" / "tree"
    for name in ("b.txt", "a/z.txt", "a b/ü.txt", "a.txt"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    (tiny_repository / ".gitignore").write_text(".state\n")
    with Repo(str(tiny_repository)) as repo:
        [stage] = repo.add("out/tree")
        assert commit.dvc_hash(directory)[0] == stage.outs[0].hash_info.value


def test_metrics_are_identical_close_or_different():
    want = {"same": 1, "close": 1.0, "far": 1.0, "gone": 2.0, "text": "a", "none": None}
    got = {"same": 1, "close": 1.05, "far": 2.0, "new": 1.0, "text": "b", "none": None}
    rows = {row.name: row.verdict for row in compare_metrics("d", want, got, {"close": 0.1, "far": 0.1})}
    assert rows == {
        "d:same": IDENTICAL,
        "d:close": CLOSE,
        "d:far": DIFFERENT,
        "d:gone": DIFFERENT,
        "d:new": DIFFERENT,
        "d:text": DIFFERENT,
        "d:none": IDENTICAL,
    }


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([IDENTICAL, RESTORED, CLOSE], 0),
        ([IDENTICAL, DIFFERENT, UNKNOWN], 1),
        ([RESTORED, UNKNOWN], 2),
        ([], 2),
    ],
)
def test_exit_codes(words, code):
    verdict = Verdict("0" * 40, "hashes", [Row(f"stage{n}", word) for n, word in enumerate(words)])
    assert verdict.exit_code == code
    assert ("NOT reproduced" in verdict.sentence()) == (code == 1)
