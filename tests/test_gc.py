"""What garbage collection lists: never what a branch, a tag or a release names, itself or in a directory."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from flows import gc, publish, releases, storage
from flows.releases import Index, Store
from tests import toy_graph
from textgan.errors import UserError


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """The storage of a published result; the test works in its repository."""
    return toy_graph.store(monkeypatch)


def put(store: Store, payload: bytes, suffix: str = "") -> str:
    """Store an object as DVC does; its key."""
    md5 = hashlib.md5(payload, usedforsecurity=False).hexdigest() + suffix
    key = f"{store.remote.prefix}/files/md5/{md5[:2]}/{md5[2:]}"
    store.s3.put_object(Bucket=store.remote.bucket, Key=key, Body=payload)
    return key


def md5_of(key: str) -> str:
    """The md5 that a key names."""
    return "".join(key.split("/")[-2:])


def garbage(store: Store) -> set[str]:
    """Keys that would go if age did not count."""
    return {item.key for item in gc.collect(store.remote, age_seconds=-60).garbage}


def commit_lock(ref: str, md5: str) -> None:
    """Make `ref` a commit, of no other's history, whose dvc.lock names an md5."""
    text = f"schema: '2.0'\nstages:\n  s:\n    cmd: x\n    outs:\n    - path: o\n      md5: {md5}\n"

    def git(*arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(["git", *arguments], input=stdin, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    blob = git("hash-object", "-w", "--stdin", stdin=text)
    tree = git("mktree", stdin=f"100644 blob {blob}\tdvc.lock\n")
    git("update-ref", ref, git(*toy_graph.IDENTITY, "commit-tree", tree, "-m", "Aside"))


def test_only_what_nothing_names_is_listed(store: Store) -> None:
    """Nothing of a stored result and its release is garbage; strays are, and stay while they are young."""
    gc.delete(store.remote, gc.collect(store.remote, age_seconds=-60).garbage)
    assert releases.damaged(store, store.need_index("whole")[0]) == []
    stray = put(store, b"a stray")
    sha256 = hashlib.sha256(b"never in an index").hexdigest()
    store.put_new(store.object_key(sha256), b"never in an index", sha256)
    store.s3.put_object(Bucket=store.remote.bucket, Key=f"{store.remote.prefix}/mine.txt", Body=b"x")
    assert garbage(store) == {stray, store.object_key(sha256)}
    young = gc.collect(store.remote)
    assert young.garbage == [] and young.young == 2
    assert young.unknown == [f"{store.remote.prefix}/mine.txt"]


def test_a_commit_of_any_ref_keeps_its_objects(store: Store) -> None:
    """Branch, tag, remote branch, stash: only when the last ref is gone do objects become garbage."""
    refs = ["refs/heads/side", "refs/tags/v0", "refs/remotes/origin/other", "refs/stash"]
    keys = {ref: put(store, f"of {ref}".encode()) for ref in refs}
    assert set(keys.values()) <= garbage(store)
    for ref, key in keys.items():
        commit_lock(ref, md5_of(key))
    assert not set(keys.values()) & garbage(store)
    for ref in refs:
        subprocess.run(["git", "update-ref", "-d", ref], check=True)
    assert set(keys.values()) <= garbage(store)


def test_files_of_a_named_directory_stay(store: Store) -> None:
    """A lock names the listing alone; the listing names the files, though only the storage has it."""
    file = put(store, b"in a directory")
    listing = json.dumps([{"md5": md5_of(file), "relpath": "a"}]).encode()
    directory = put(store, listing, ".dir")
    assert {file, directory} <= garbage(store)
    commit_lock("refs/heads/directory", md5_of(directory))
    assert not {file, directory} & garbage(store)


def test_a_release_keeps_what_its_commit_named(store: Store) -> None:
    """Its objects, and the data that the dvc.lock inside it names, though no clone has the commit any more."""
    key = put(store, b"data of a release")
    lock = publish.Part("dvc.lock", f"outs:\n- md5: {md5_of(key)}\n".encode())
    file = publish.digested(lock)
    assert key in garbage(store)
    publish.put(store, Index("old", "2" * 40, "2020-01-01", "Gone", {}, (file,)), [lock])
    found = garbage(store)
    assert key not in found and store.object_key(file.sha256) not in found


def test_deleting_takes_the_garbage_and_nothing_else(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Afterwards the release is whole and nothing is left to delete."""
    stray = put(store, b"to be deleted")
    with pytest.raises(UserError, match="--dry-run"):
        storage.collect_garbage()
    storage.collect_garbage(dry_run=True, days=0)
    assert stray in {key for key, _, _ in store.listed(store.remote.prefix)}
    before = {key for key, _, _ in store.listed(store.remote.prefix)}
    expected = garbage(store)
    gc.delete(store.remote, gc.collect(store.remote, age_seconds=-60).garbage)
    assert {key for key, _, _ in store.listed(store.remote.prefix)} == before - expected
    assert garbage(store) == set()
    assert releases.damaged(store, store.need_index("whole")[0]) == []


def test_a_shallow_clone_is_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot see it would take for garbage."""
    toy_graph.run(tmp_path, "git", "clone", "-q", str(Path.cwd()), "full")
    toy_graph.run(tmp_path / "full", "git", *toy_graph.IDENTITY, "commit", "-q", "--allow-empty", "-m", "Second")
    toy_graph.run(tmp_path, "git", "clone", "-q", "--depth", "1", (tmp_path / "full").as_uri(), "shallow")
    monkeypatch.chdir(tmp_path / "shallow")
    with pytest.raises(UserError, match="shallow"):
        gc.collect(store.remote)
