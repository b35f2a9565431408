"""A DVC killed while it wrote its own files leaves parts of them: the next command mends them and goes on."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest

from flows import dvc_program, torn
from flows.history import parse_lock

DVC_YAML = """stages:
  first:
    cmd: cp zero.txt first.txt
    deps:
      - zero.txt
    outs:
      - first.txt
  second:
    cmd: cp first.txt second.txt
    deps:
      - first.txt
    outs:
      - second.txt
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with two stages, run once."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    root = tmp_path / "place"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "zero.txt").write_text("0\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    assert repro(root) == {"first": "ran", "second": "ran"}
    return root


def repro(root: Path, said: list[str] | None = None) -> dict[str, str]:
    """What our `dvc repro` did with each stage."""
    lines: list[str] = [] if said is None else said
    result = dvc_program.run("repro", say=lines.append, cwd=root, merge_errors=True)
    assert result.code == 0, lines
    return {stage: outcome.how for stage, outcome in result.stages.items()}


def test_a_dvc_lock_cut_anywhere_is_whole_again_after_the_next_command(place: Path) -> None:
    """Taken back, or, cut between two entries, filled from the run cache: no stage runs, no size or hash is lost."""
    whole = (place / "dvc.lock").read_bytes()
    shorter = set()
    for length in range(len(whole)):
        (place / "dvc.lock").write_bytes(whole[:length])
        torn.mend(place, lambda _line: None)
        left = (place / "dvc.lock").read_bytes()
        if left != whole:
            assert left == whole[:length]
            shorter.add(length)
        else:
            assert (place / torn.TORN).read_bytes() == whole[:length]
    assert 0 < len(shorter) < 6
    for length in shorter:
        (place / "dvc.lock").write_bytes(whole[:length])
        assert "ran" not in repro(place).values()
        assert parse_lock((place / "dvc.lock").read_text()) == parse_lock(whole.decode())


def test_what_is_no_cut_is_left_alone(place: Path) -> None:
    """Another machine's lock with fewer stages, one without any, another commit's, the marks of a merge."""
    whole = (place / "dvc.lock").read_bytes()
    shorter = whole[: whole.index(b"  second:")]
    other = whole.replace(b"second", b"third")
    merging = b"<<<<<<< ours\n" + whole + b"=======\n" + other + b">>>>>>> theirs\n"
    for text in (shorter, b"schema: '2.0'\nstages: {}\n", other, merging):
        (place / "dvc.lock").write_bytes(text)
        torn.mend(place, pytest.fail)
        assert (place / "dvc.lock").read_bytes() == text
    torn.keep(place)
    assert (place / torn.KEPT).read_bytes() == whole  # the marks of a merge are not kept


def test_without_a_kept_copy_the_commit_or_the_run_cache_has_it(place: Path) -> None:
    whole = (place / "dvc.lock").read_bytes()
    (place / torn.KEPT).unlink()
    (place / "dvc.lock").write_bytes(whole[:100])
    said: list[str] = []
    assert repro(place, said) == {"first": "restored", "second": "restored"}
    assert any("run cache" in line for line in said)
    assert (place / "dvc.lock").read_bytes() == whole
    commit_lock(place)
    (place / torn.KEPT).unlink()
    (place / "dvc.lock").write_bytes(b"")
    assert repro(place, said) == {"first": "unchanged", "second": "unchanged"}
    assert any("taken back from the commit" in line for line in said)


def commit_lock(place: Path) -> None:
    identity = ["-c", "user.name=textgan", "-c", "user.email=team@textgan.invalid"]
    subprocess.run(["git", "add", "dvc.lock"], cwd=place, check=True)
    subprocess.run(["git", *identity, "commit", "-q", "-m", "lock"], cwd=place, check=True)


def test_a_torn_rwlock_is_forgotten_and_a_whole_one_stays(place: Path) -> None:
    entry = {"pid": 2**22 + 1, "cmd": "dvc repro"}
    whole = json.dumps({"write": {str(place / "first.txt"): entry}, "read": {}})
    rwlock = place / torn.RWLOCK
    for length in range(len(whole)):
        rwlock.write_text(whole[:length])
        torn.mend(place, lambda _line: None)
        assert not rwlock.exists()
    rwlock.write_text(whole)
    torn.mend(place, pytest.fail)
    assert rwlock.read_text() == whole
    rwlock.write_text("")
    said: list[str] = []
    assert repro(place, said) == {"first": "unchanged", "second": "unchanged"}
    assert any(str(torn.RWLOCK) in line for line in said)


@pytest.mark.parametrize("guard", torn.GUARDS)
def test_nothing_is_touched_while_a_dvc_may_be_writing(place: Path, guard: Path) -> None:
    descriptor = os.open(place / guard, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    (place / "dvc.lock").write_bytes(b"sche")
    (place / torn.RWLOCK).write_bytes(b"{")
    torn.mend(place, pytest.fail)
    torn.keep(place)
    os.close(descriptor)
    assert (place / "dvc.lock").read_bytes() == b"sche"
    assert (place / torn.RWLOCK).read_bytes() == b"{"
    assert (place / torn.KEPT).read_bytes() != b"sche"


def test_where_dvc_never_ran_there_is_nothing_to_mend(tmp_path: Path) -> None:
    torn.mend(tmp_path, pytest.fail)
    torn.keep(tmp_path)
    assert list(tmp_path.iterdir()) == []
