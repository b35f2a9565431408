"""A commit made again ends with a verdict that cannot be mistaken."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flows import commit, environment, locked, storage
from flows.reproduction import Reproduction
from flows.tolerances import Tolerances
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
    said = done.stdout.splitlines()
    assert "MB on disk" in said[0] and "took" in said[0]  # time and disk before anything is done
    assert re.match(r"\s+recorded\s+here$", said[1]), said[1]
    whole = json.loads((place / storage.STATE / "verdicts" / sha[:12] / "verdict.json").read_text())
    assert whole["environment"]["recorded"] == whole["environment"]["present"] != {}
    assert whole["exit_code"] == 0
    assert set(whole["ran"]) == {"evaluate@one", "evaluate@two"}


@pytest.mark.slow
def test_hashes_measures_nothing_says_so_and_leaves_no_keys(repository, tmp_path):
    place, sha = repository
    done = textgan(place, "reproduce", sha, "--verify", "hashes", "--keep", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stdout + done.stderr
    kept = tmp_path / "kept" / ".dvc" / "config.local"
    assert "access_key" not in kept.read_text() and "access_key" in (place / ".dvc" / "config.local").read_text()
    done = textgan(place, "reproduce", sha, "--verify", "hashes")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = verdict_of(place, sha)
    assert set(rows["stages"].values()) == set(rows["metrics"].values()) == {RESTORED}
    assert "nothing is run" in done.stdout.splitlines()[0]


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
    assert re.search(r"first@one +different: params.yaml: draw.one.seed is 9, dvc.lock recorded 1$", done.stdout, re.M)
    assert verdict_of(place, sha)["stages"]["first@two"] == RESTORED


@pytest.mark.slow
def test_metrics_that_were_edited_and_stages_that_nobody_ran_are_found(repository):
    """A nicer number in metrics/one.json is `different`; a lock without a stage vouches for nothing of it."""
    place, _sha = repository
    lock, metrics = place / "dvc.lock", place / "metrics" / "one.json"
    whole, numbers = lock.read_text(), metrics.read_text()
    stages = yaml.safe_load(whole)
    del stages["stages"]["evaluate@two"]
    lock.write_text(yaml.safe_dump(stages))
    metrics.write_text(json.dumps({"metrics": {"score": 1}}))
    sha = tiny.commit(place, "nicer")
    done = textgan(place, "reproduce", sha, "--verify", "hashes")
    lock.write_text(whole)
    metrics.write_text(numbers)
    tiny.commit(place, "mended once more")
    assert done.returncode == 1, done.stdout + done.stderr
    rows = verdict_of(place, sha)
    assert rows["stages"]["evaluate@one"] == DIFFERENT
    assert rows["stages"]["evaluate@two"] == UNKNOWN and rows["metrics"]["two:*"] == UNKNOWN
    assert rows["stages"]["middle@two"] == rows["stages"]["middle@one"] == RESTORED


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


@pytest.mark.slow
def test_a_commit_from_before_the_present_layout_cannot_be_verified(repository):
    place, _sha = repository
    tree = tiny.git(place, "hash-object", "-t", "tree", "-w", "/dev/null")
    sha = tiny.git(place, "commit-tree", tree, "-m", "an empty beginning")
    done = textgan(place, "reproduce", sha)
    assert done.returncode == 2
    assert "the commit has no dvc.yaml: it is from before the present layout" in done.stdout


@pytest.mark.slow
def test_a_shallow_clone_reproduces_what_it_has_and_says_what_it_lacks(repository, tmp_path):
    place, sha = repository
    shallow = tmp_path / "shallow"
    tiny.git(place, "clone", "-q", "--depth", "1", place.as_uri(), str(shallow))
    assert textgan(shallow, "storage", "attach", str(place)).returncode == 0
    done = textgan(shallow, "reproduce", "HEAD", "--verify", "hashes")
    assert done.returncode == 0, done.stdout + done.stderr
    if tiny.git(place, "rev-parse", "HEAD") == sha:
        sha = tiny.git(place, "rev-parse", "HEAD~1")
    done = textgan(shallow, "reproduce", sha)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("error: commit") and "git fetch --unshallow" in line


@pytest.fixture
def reproduction(tmp_path: Path) -> Reproduction:
    """A worktree of one dataset `d`, of whose stages only the record is there."""
    made = Reproduction.__new__(Reproduction)
    made.tree, made.datasets = tmp_path, ["d"]
    made.lock = {
        "images@d": {"deps": [], "outs": [{"path": "data/images/d", "md5": "0.dir"}]},
        "train@d": {"deps": [{"path": "data/images/d"}], "outs": [{"path": "models/d", "md5": "1.dir"}]},
        "evaluate@d": {"deps": [{"path": "models/d"}], "outs": [{"path": "data/evaluation/d", "md5": "2.dir"}]},
        "page": {"deps": [{"path": "data/evaluation/d"}], "outs": []},
    }
    made.unlike, made.held = ["cpu one / another"], {}
    made.params = {"datasets": {"d": {"pairs": {"embeddings": None}}}}
    return made


def test_metrics_are_those_of_the_evaluation_and_not_of_the_committed_file(reproduction):
    """metrics/D.json is what the commit says; what was measured now lies in the out of evaluate@D."""
    for place, value in (("metrics/d.json", 1.0), ("data/evaluation/d/metrics.json", 2.0)):
        (reproduction.tree / place).parent.mkdir(parents=True)
        (reproduction.tree / place).write_text(json.dumps({"metrics": {"kid": value}}))
    assert reproduction._measured("d") == {"kid": 2.0}
    reproduction.metrics = {"d": {"kid": 1.0}}
    reproduction.tolerances = {"d": {"evaluation": Tolerances("", {"kid": 0.5}), "training": Tolerances("", {})}}
    [row] = reproduction._compared_metrics("d", trained_alike=True)
    assert row.verdict == DIFFERENT and "commit 1, now 2, tolerance 0.5" in row.detail


@pytest.mark.parametrize(
    ("metric", "present", "images", "expected"),
    [
        (CLOSE, "another", IDENTICAL, [IDENTICAL, CLOSE, CLOSE, CLOSE]),
        (CLOSE, "one", IDENTICAL, [IDENTICAL, DIFFERENT, DIFFERENT, DIFFERENT]),
        (DIFFERENT, "another", IDENTICAL, [IDENTICAL, DIFFERENT, DIFFERENT, DIFFERENT]),
        (CLOSE, "another", DIFFERENT, [DIFFERENT, CLOSE, CLOSE, CLOSE]),
    ],
)
def test_other_bytes_are_excused_only_on_another_machine_within_tolerance(
    reproduction, metric, present, images, expected
):
    """And never those of a stage that has no floats: images are the same everywhere."""
    reproduction.unlike = environment.unlike({"cpu": "one"}, {"cpu": present})
    words = [images, DIFFERENT, DIFFERENT, DIFFERENT]
    rows = [Row(name, word) for name, word in zip(reproduction.lock, words, strict=True)]
    verdict = Verdict("0" * 40, "from raw", rows, [Row("d:kid", metric)])
    assert [row.verdict for row in reproduction._excused(verdict)] == expected


@pytest.mark.parametrize(("embeddings", "expected"), [(None, DIFFERENT), ("minilm", CLOSE)])
def test_pairs_have_floats_only_where_they_have_sentence_vectors(reproduction, embeddings, expected):
    """Token ids are the same everywhere; vectors of int8 weights are not."""
    reproduction.lock = {"pairs@d": {"deps": [], "outs": [{"path": "data/pairs/d", "md5": "0.dir"}]}}
    reproduction.params["datasets"]["d"]["pairs"]["embeddings"] = embeddings
    verdict = Verdict("0" * 40, "from raw", [Row("pairs@d", DIFFERENT)], [Row("d:kid", CLOSE)])
    assert [row.verdict for row in reproduction._excused(verdict)] == [expected]


def test_another_export_is_refused_by_its_digest(reproduction):
    """Before any stage runs, both digests named."""
    place = reproduction.tree / "data" / "exports" / "d" / "cat" / "data.mdb"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"one export")
    right = commit.dvc_hash(reproduction.tree / "data/exports/d")[0]
    for md5, word in ((right, IDENTICAL), ("f" * 32 + ".dir", DIFFERENT)):
        reproduction.lock["ingest@d"] = {"deps": [{"path": "data/exports/d", "md5": md5}]}
        [row] = reproduction._export_rows({"d/cat": place.parent})
        assert row.verdict == word
        assert word == IDENTICAL or (right in row.detail and md5 in row.detail)


SETUP = """\
echo built >> ../built
test "$(cat $1)" = "good==1" || { mkdir -p .venv/bin; exit 3; }
mkdir -p .venv/bin
ln -s "$(command -v python3)" .venv/bin/python
"""


def test_an_environment_is_built_once_for_each_lock_and_never_half(tiny_repository, tmp_path):
    """The present lock: this interpreter. Another: built by the commit's setup.sh, and again where that was killed."""
    tree = tmp_path / "tree"
    shutil.copytree(tiny_repository, tree)
    assert commit.python_of(tree) == Path(sys.executable)
    (tree / "scripts").mkdir()
    for name, text in (("scripts/setup.sh", SETUP), ("pyproject.toml", ""), ("README.md", "")):
        (tree / name).write_text(text)
    (tree / "requirements.lock").write_text("good==1\n")
    python = commit.python_of(tree)
    assert python.is_relative_to(tiny_repository / storage.STATE / "environments") and python.exists()
    assert commit.python_of(tree) == python
    built = tiny_repository / storage.STATE / "environments" / "built"
    assert built.read_text() == "built\n"
    (python.parents[2] / "complete").unlink()  # as a kill leaves it
    assert commit.python_of(tree) == python
    assert built.read_text() == "built\n" * 2
    (tree / "torch.lock").write_text("torch==0.0.1\n")  # the same lock with another torch
    other = commit.python_of(tree)
    assert other != python and other.exists() and (other.parents[2] / "torch.lock").exists()
    (tree / "torch.lock").unlink()
    (tree / "requirements.lock").write_text("bad==1\n")
    for _ in range(2):
        with pytest.raises(commit.NotVerifiable, match=r"requirements.lock at the commit cannot be built \(exit 3\)"):
            commit.python_of(tree)
    (tree / "scripts" / "setup.sh").unlink()
    with pytest.raises(commit.NotVerifiable, match=r"the commit has no scripts/setup\.sh"):
        commit.python_of(tree)


@pytest.mark.slow
@pytest.mark.long
def test_the_real_setup_builds_an_environment_of_a_few_locked_packages(tiny_repository, tmp_path):
    """By the script, pip and hashes that a whole one is built by, without torch; a wrong hash is refused."""
    root, tree = Path(__file__).parents[1], tmp_path / "tree"
    shutil.copytree(tiny_repository, tree)
    (tree / "scripts").mkdir()
    for name in ("scripts/setup.sh", "pyproject.toml", "README.md"):
        shutil.copy(root / name, tree / name)
    whole = (root / "requirements.lock").read_text()
    blocks = [re.search(rf"^{name}==.*\n(?:    --hash.*\n)+", whole, re.M)[0] for name in ("pyyaml", "setuptools")]
    (tree / "requirements.lock").write_text("".join(blocks))
    (tree / "torch.lock").write_text("# none\n")
    python = commit.python_of(tree)
    assert python.is_relative_to(tiny_repository / storage.STATE / "environments")
    asked = "import importlib.metadata as m, sys; print(m.version('pyyaml'), m.version('textgan'), sys.prefix)"
    said = subprocess.run([python, "-I", "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == locked.pins(root)["pyyaml"] and said[1:] == ["0.1.0", str(python.parents[1])]
    assert commit.python_of(tree) == python
    other = re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, "".join(blocks))
    (tree / "requirements.lock").write_text(other)
    with pytest.raises(commit.NotVerifiable, match="requirements.lock at the commit cannot be built"):
        commit.python_of(tree)


def test_the_present_environment_serves_only_where_it_is_as_locked(tiny_repository, tmp_path, capfd):
    """Not where the lock's text is the same and something else is installed."""
    for name, text in (("requirements.lock", "pyyaml==0.0.1\n"), ("README.md", ""), ("pyproject.toml", "")):
        (tiny_repository / name).write_text(text)
    (tiny_repository / "scripts").mkdir()
    (tiny_repository / "scripts" / "setup.sh").write_text("exit 3\n")
    shutil.copytree(tiny_repository, tmp_path / "tree")
    with pytest.raises(commit.NotVerifiable, match="cannot be built"):
        commit.python_of(tmp_path / "tree")
    said = capfd.readouterr().out
    assert re.search(r"the present one is not as locked: pyyaml \(locked 0\.0\.1, installed [\d.]+\)", said), said


def test_torch_is_pinned_in_one_place(tmp_path):
    """torch.lock; of a commit from before it, its setup.sh; an environment's name depends on it."""
    root = Path(__file__).parents[1]
    assert re.fullmatch(r"(#.*\n)+torch==[0-9.]+\n", (root / "torch.lock").read_text())
    assert locked.pins(root)["torch"] == (root / "torch.lock").read_text().split("==")[1].strip()
    for script in (root / "scripts").iterdir():
        assert not re.search(r"torch==\d", script.read_text()), script
    (tmp_path / "requirements.lock").write_text("one==1\n")
    names = {locked.key(tmp_path)}
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "setup.sh").write_text("$pip --no-deps torch==2.13.0 & torch=$!\n$pip torch==2.13.0 # x\n")
    assert locked.pins(tmp_path) == {"one": "1", "torch": "2.13.0"}
    names.add(former := locked.key(tmp_path))
    (tmp_path / "torch.lock").write_text("# now here\ntorch==2.13.0\n")
    assert locked.key(tmp_path) == former
    (tmp_path / "torch.lock").write_text("torch==2.14.0\n")
    assert len({*names, locked.key(tmp_path)}) == 3
    assert locked.not_as_locked({"torch": importlib.metadata.version("torch").partition("+")[0]}) == {}


def test_a_killed_reproduction_leaves_no_worktree_for_long(tiny_repository):
    """The next one removes it; one that is under way stays."""
    sha = tiny.git(tiny_repository, "rev-parse", "HEAD")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    killed, alive = (storage.STATE / "reproduce" / f"{sha[:12]}-{pid}" for pid in (ended.pid, os.getppid()))
    for place in (killed, alive):
        tiny.git(tiny_repository, "worktree", "add", "--detach", str(place), sha)
    with commit.worktree(sha, None) as tree:
        assert (tree / "dvc.yaml").exists() and not killed.exists() and (alive / "dvc.yaml").exists()
    assert not tree.exists()
    assert str(killed) not in tiny.git(tiny_repository, "worktree", "list")


def test_an_unknown_commit_is_one_line(tiny_repository):
    done = textgan(tiny_repository, "reproduce", "0123abc")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["error: commit '0123abc': not in this clone; `git fetch` may bring it"]


@pytest.mark.parametrize(
    ("place", "why"),
    [("full", "the directory is not empty"), ("file", "not a directory"), ("file/below", "Not a directory")],
)
def test_a_place_to_keep_that_cannot_be_used_is_refused_at_the_start(tiny_repository, place, why):
    """In one line, also where the commit would have no verdict but `not verifiable`; what lies there stays as it is."""
    (tiny_repository / "full").mkdir()
    (tiny_repository / "full" / "file").write_text("mine")
    (tiny_repository / "file").write_text("mine")
    done = textgan(tiny_repository, "reproduce", "HEAD", "--keep", place)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == f"error: --keep {place}: {why}\n"
    assert [path.name for path in (tiny_repository / "full").iterdir()] == ["file"]
    done = textgan(tiny_repository, "reproduce", "HEAD", "--keep", "new")
    assert done.returncode == 2 and "the commit has no dvc.lock" in done.stdout
    assert (tiny_repository / "new" / "verdict.json").exists()


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


def test_a_changed_parameter_is_named_with_both_values():
    """As deep as it lies; what is gone, and what was added, too."""
    recorded = {"draw.d": {"seed": 1, "images": 2}, "datasets.d.train": {"optimiser": {"lr": 0.1}, "total_kimg": 3}}
    params = {"draw": {"d": {"seed": 1, "images": 2}}, "datasets": {"d": {"train": {"optimiser": {"lr": 0.1}}}}}
    train = params["datasets"]["d"]["train"]
    assert commit.changed_params(recorded, params) == "datasets.d.train.total_kimg is None, dvc.lock recorded 3"
    train["total_kimg"] = 3
    assert commit.changed_params(recorded, params) == ""
    train["optimiser"] = {"lr": 0.2}
    assert commit.changed_params(recorded, params) == "datasets.d.train.optimiser.lr is 0.2, dvc.lock recorded 0.1"


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


def test_the_closing_sentence_counts_each_word():
    """Restored stages are never said to have been run."""
    verdict = Verdict("0" * 40, "metrics", [Row("a", RESTORED), Row("b", RESTORED)], [Row("d:kid", IDENTICAL)])
    assert verdict.sentence().endswith("is reproduced (metrics). stages: 2 restored, not rerun; metrics: 1 identical.")
    verdict = Verdict("0" * 40, "hashes", [Row("a", RESTORED)], [Row("d:kid", RESTORED)])
    assert "is restored as it was recorded, and nothing of it was run again (hashes)" in verdict.sentence()


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
