"""What garbage collection lists: never what a branch, a tag or a release names, itself or in a directory."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
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
    gc.delete(store.remote, gc.collect(store.remote, age_seconds=-60))
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
    gc.delete(store.remote, gc.collect(store.remote, age_seconds=-60))
    assert {key for key, _, _ in store.listed(store.remote.prefix)} == before - expected
    assert garbage(store) == set()
    assert releases.damaged(store, store.need_index("whole")[0]) == []


def test_what_probes_and_flow_runs_left_goes_when_it_is_old(store: Store) -> None:
    """They are ours; while they are young they may be in use."""
    left = {f"{store.remote.prefix}/{key}" for key in ("probe/ab12", "flows/1234-ab/train@catcar/request.json")}
    for key in left:
        store.s3.put_object(Bucket=store.remote.bucket, Key=key, Body=b"{}")
    young = gc.collect(store.remote)
    assert young.garbage == [] and not left & set(young.unknown)
    assert left <= garbage(store)
    gc.delete(store.remote, gc.collect(store.remote, age_seconds=-60))
    assert not left & {key for key, _, _ in store.listed(store.remote.prefix)}


def test_uploads_that_never_ended_are_shown_and_ended_when_they_are_old(store: Store) -> None:
    """Those below the prefix alone: a bucket may be shared."""
    bucket, prefix = store.remote.bucket, store.remote.prefix
    keys = [f"{prefix}/files/md5/ab/{'0' * 30}", "another/file"]
    begun = {key: store.s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"] for key in keys}
    try:
        for key, upload in begun.items():
            store.s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * (5 << 20))
        young = gc.collect(store.remote)
        assert young.uploads == [] and young.young_uploads == 1
        old = gc.collect(store.remote, age_seconds=-60)
        assert [(one.key, one.id) for one in old.uploads] == [(keys[0], begun[keys[0]])]
        assert any("abandoned upload" in line and keys[0] in line for line in gc.lines_of(old))
        gc.delete(store.remote, old)
        assert gc.collect(store.remote, age_seconds=-60).uploads == []
        left = store.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        assert [one["Key"] for one in left] == [keys[1]]
    finally:
        store.s3.abort_multipart_upload(Bucket=bucket, Key=keys[1], UploadId=begun[keys[1]])


def test_an_attached_storage_is_collected_only_by_who_says_that_no_commit_is_elsewhere(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bucket at a URL is nobody's own: without the words nothing is deleted there, with them it can be."""
    stray = put(store, b"a stray in a bucket")
    monkeypatch.setattr(storage, "ensure_started", lambda: store.remote.with_attachment("https://s3.example"))
    with pytest.raises(UserError, match="--i-have-all-commits"):
        storage.collect_garbage(yes=True, days=0)
    assert stray in {key for key, _, _ in store.listed(store.remote.prefix)}
    time.sleep(1.1)  # the server's times are of whole seconds
    storage.collect_garbage(yes=True, days=0, i_have_all_commits=True)
    assert stray not in {key for key, _, _ in store.listed(store.remote.prefix)}
    assert "deleted" in capsys.readouterr().out
    assert releases.damaged(store, store.need_index("whole")[0]) == []


def test_a_shallow_clone_is_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot see it would take for garbage."""
    toy_graph.run(tmp_path, "git", "clone", "-q", str(Path.cwd()), "full")
    toy_graph.run(tmp_path / "full", "git", *toy_graph.IDENTITY, "commit", "-q", "--allow-empty", "-m", "Second")
    toy_graph.run(tmp_path, "git", "clone", "-q", "--depth", "1", (tmp_path / "full").as_uri(), "shallow")
    monkeypatch.chdir(tmp_path / "shallow")
    with pytest.raises(UserError, match="shallow"):
        gc.collect(store.remote)
