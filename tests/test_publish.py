"""Releases against a real server: killed, raced, damaged, hostile; whole or not there, the same or refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows import fetch_release, publish, releases, storage
from flows.releases import File, Index, Store, parse_index
from flows.remote import load_remote
from tests import toy_graph
from tests.cutting_proxy import CuttingProxy
from textgan import params
from textgan.errors import UserError

COMMIT = "0" * 40
CHILD = """
import os, signal, sys, threading, time
from pathlib import Path
from flows import publish, releases
from textgan.errors import program
publish.check_up_to_date = lambda: None
puts, name, gate = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
lock, real = threading.Lock(), releases.Store.put_new
def put_new(self, key, *rest):
    global puts
    with lock:
        if puts == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        puts -= 1
    return real(self, key, *rest)
releases.Store.put_new = put_new
real_put = publish.put
def put(*arguments):
    print("ready", flush=True)
    while not gate.exists():
        time.sleep(0.001)
    return real_put(*arguments)
publish.put = put
program(lambda: publish.publish(tag=name))
"""


@pytest.fixture(scope="module")
def repository() -> Path:
    """A published result `whole` in a running server."""
    return toy_graph.published()


@pytest.fixture
def store(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The releases of the repository's storage; the test works in the repository, up to date by definition."""
    monkeypatch.chdir(repository)
    remote = load_remote(storage.PLACE)
    assert remote is not None
    monkeypatch.setattr(publish, "check_up_to_date", lambda: None)
    monkeypatch.setattr(storage, "ensure_started", lambda: remote)
    return Store(remote)


def child(repository: Path, puts: int, name: str, gate: Path) -> subprocess.Popen[str]:
    """A publisher in a process of its own: it waits for the gate, and dies before its put number `puts`."""
    command = [sys.executable, "-c", CHILD, str(puts), name, str(gate)]
    return subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_release_names_everything_that_the_commit_made(store: Store) -> None:
    """The snapshot, metrics, lock, parameters, descriptions, provenance and environment, each by its true hash."""
    index, _ = store.need_index("whole")
    paths = {file.path for file in index.files}
    assert {"models/catcar/G_ema.safetensors", "dvc.lock", "params.yaml", "cards/catcar.md"} <= paths
    assert {
        "data/evaluation/catcar/metrics.json",
        "metrics/catcar.json",
        "environment/versions.json",
        "provenance/catcar.json",
    } <= paths
    assert not [path for path in paths if path.startswith(("data/exports", "data/inventory")) or path.endswith(".tar")]
    assert releases.damaged(store, index) == []


@pytest.mark.parametrize(
    ("maker", "made", "why"),
    [
        ("model_card", "---\nlicense: x\n---\n", "cards/catcar.md: header: library_name is missing"),
        ("croissant", {"@type": "sc:Dataset"}, "croissant-catcar.json: @context is missing"),
    ],
)
def test_a_description_with_a_fault_is_not_published(store: Store, monkeypatch, maker, made, why) -> None:
    """Releases do not change, so that a fault would stay."""
    monkeypatch.setattr(publish.cards, maker, lambda *_arguments: made)
    with pytest.raises(UserError, match=f"publish: {why}"):
        publish.publish(tag="faulty")
    assert store.read_index("faulty") is None


@pytest.mark.slow
def test_a_killed_publish_is_invisible_and_the_next_one_completes_it(store: Store, tmp_path: Path) -> None:
    """SIGKILL before the first object, between objects and before the index; then the release of a whole run."""
    gate = tmp_path / "gate"
    gate.touch()
    whole = store.need_index("whole")[0]
    count = len({file.sha256 for file in whole.files})
    for puts in (2, 3, 2 + count // 2, 2 + count):
        killed = child(Path.cwd(), puts, "cut", gate)
        assert killed.wait(60) == -signal.SIGKILL
        assert store.read_index("cut") is None and "cut" not in store.names()
    publish.publish(tag="cut")
    assert store.need_index("cut")[0] == replace(whole, name="cut")
    assert releases.damaged(store, store.need_index("cut")[0]) == []


def test_a_dvc_lock_cut_by_a_kill_is_whole_before_the_tree_is_looked_at(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Path("dvc.lock").read_bytes()
    Path("dvc.lock").write_bytes(whole[: len(whole) // 2])
    publish.publish(tag="whole")
    assert Path("dvc.lock").read_bytes() == whole
    assert "no whole lock" in capsys.readouterr().out


def test_publishing_again_is_the_same_release(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The index keeps its bytes; another machine's records do not replace the first one's."""
    before = store.need_index("whole")[1]
    publish.publish(tag="whole")
    assert store.need_index("whole")[1] == before
    records = Path("runs/catcar/times.json")
    records.parent.mkdir(parents=True)
    records.write_text('{"seconds": 3}\n')
    publish.publish(tag="whole")
    assert store.need_index("whole")[1] == before
    assert "that one stands" in capsys.readouterr().out
    records.unlink()


@pytest.mark.slow
def test_two_racing_publishers_have_one_winner(store: Store, tmp_path: Path) -> None:
    """Two commits, one name, at the same moment: one index stands whole, the other publisher is refused."""
    first, second, gate = Path.cwd(), tmp_path / "second", tmp_path / "gate"
    toy_graph.make(second)
    (second / "NOTICE").write_text("Another commit.\n")
    other = toy_graph.commit(second, "Another commit")
    textgan = str(Path(sys.executable).with_name("textgan"))
    toy_graph.run(second, textgan, "storage", "attach", str(first))
    racing = [child(place, 10_000, "raced", gate) for place in (first, second)]
    for process in racing:
        assert process.stdout is not None
        while process.stdout.readline() not in ("ready\n", ""):
            continue
    gate.touch()
    errors = [process.communicate(timeout=60)[1] for process in racing]
    codes = [process.returncode for process in racing]
    assert sorted(codes) == [0, 1], errors
    winner = store.need_index("raced")[0]
    assert (winner.commit == other) == (codes[1] == 0)
    assert "releases do not change" in errors[codes.index(1)]
    assert releases.damaged(store, winner) == []


def test_a_name_of_another_commit_is_refused_before_anything_is_written(store: Store, monkeypatch) -> None:
    """Releases are immutable: the same name never means two commits."""
    monkeypatch.setattr(publish, "clean_commit", lambda: ("1" * 40, "2026-01-01T00:00:00+00:00", "Later"))
    with pytest.raises(UserError, match="release whole is of commit .* another --tag"):
        publish.publish(tag="whole")


def test_a_dirty_tree_and_a_stale_stage_are_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names the file, or the stage and what changed."""
    monkeypatch.chdir(repository)
    before = Path("params.yaml").read_text()
    Path("stray.txt").write_text("x")
    with pytest.raises(UserError, match="stray.txt differs from commit"):
        publish.clean_commit()
    Path("stray.txt").unlink()
    publish.clean_commit()
    Path("params.yaml").write_text(before.replace("width: 64", "width: 32"))
    try:
        with pytest.raises(UserError, match="params.yaml differs from commit"):
            publish.publish(tag="dirty")
        with pytest.raises(UserError, match="images@catcar.* is stale: .*make repro"):
            publish.check_up_to_date()
    finally:
        Path("params.yaml").write_text(before)


def test_bytes_that_dvc_did_not_record_are_not_published(store: Store) -> None:
    """A file changed behind DVC's back is found by its hash and named."""
    path = Path("models/catcar/G_ema.safetensors")
    before = path.read_bytes()
    path.unlink()  # it may be a link into the cache
    path.write_bytes(b"X" + before[1:])
    with pytest.raises(UserError, match="G_ema.safetensors: its md5 is .* dvc.lock records"):
        publish.publish(tag="tampered")
    path.write_bytes(before)
    assert store.read_index("tampered") is None


def test_a_damaged_object_is_named_never_used_and_mended(store: Store, tmp_path: Path) -> None:
    """Same length, other bytes, under the right name in the bucket."""
    index = store.need_index("whole")[0]
    file = next(file for file in index.files if file.path.endswith("G_ema.safetensors"))
    s3, key = store.s3, store.object_key(file.sha256)
    s3.put_object(Bucket=store.remote.bucket, Key=key, Body=b"\0" * file.size)
    assert [line.partition(":")[0] for line in releases.damaged(store, index)] == [file.path]
    with pytest.raises(UserError, match=rf"{file.path}: object .*{file.sha256} in the storage is damaged"):
        fetch_release.fetch_release("whole", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    publish.publish(tag="whole")
    fetch_release.fetch_release("whole", tmp_path / "out")
    assert fetch_release.differences(index, tmp_path / "out") == []
    s3.delete_object(Bucket=store.remote.bucket, Key=key)
    assert "is missing" in releases.damaged(store, index)[0]
    publish.publish(tag="whole")
    assert releases.damaged(store, index) == []


def test_a_cut_fetch_goes_on_where_it_was(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection fails in the middle of a file; the second try asks for the rest alone."""
    index = store.need_index("whole")[0]
    file = next(file for file in index.files if file.path.endswith("G_ema.safetensors"))
    real, asked = Store.read_from, []

    def read_from(self: Store, sha256: str, offset: int = 0) -> Iterator[bytes]:
        for block in real(self, sha256, offset):
            asked.append((sha256, offset))
            yield block
            if sha256 == file.sha256 and offset == 0:
                raise UserError("the connection was cut")

    monkeypatch.setattr(Store, "read_from", read_from)
    with pytest.raises(UserError, match="cut"):
        fetch_release.fetch_release("whole", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    fetch_release.fetch_release("whole", tmp_path / "out")
    assert [offset for sha256, offset in asked if sha256 == file.sha256] == [0, releases.BLOCK]
    assert fetch_release.differences(index, tmp_path / "out") == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(asked) < 2 * len(index.files)


@pytest.mark.slow
def test_publishing_and_fetching_over_a_network_that_is_cut(store: Store, tmp_path: Path, monkeypatch) -> None:
    """Connections drop between two blocks, both ways: nothing half is visible, and the same command completes it."""
    for tag, cuts in (("few", 1), ("many", 6)):
        proxy = CuttingProxy(store.remote.endpoint, cuts, after=150_000)
        through = replace(store.remote, endpoint=proxy.endpoint)
        monkeypatch.setattr(storage, "ensure_started", lambda through=through: through)
        out = tmp_path / tag
        for _ in range(20):
            try:
                publish.publish(tag="whole")  # every object is read again, and compared
                fetch_release.fetch_release("whole", out)
                break
            except UserError as error:
                assert proxy.endpoint in str(error) and not out.exists()
        proxy.listener.close()
        assert proxy.cuts == 0
        assert fetch_release.differences(store.need_index("whole")[0], out) == []
    assert releases.damaged(store, store.need_index("whole")[0]) == []


@pytest.mark.slow
def test_a_full_disk_leaves_no_release(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is fetched; where the room goes meanwhile, said then, and the rest comes with more room."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("no right to mount a small file system here")
    try:
        with pytest.raises(UserError, match=r"the release needs 1\.\d MB more; 1\.0 MB are free there"):
            fetch_release.fetch_release("whole", small / "out")
        usage = shutil.disk_usage(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _place: usage)
            with pytest.raises(UserError, match="No space left on device; the same command goes on from there"):
                fetch_release.fetch_release("whole", small / "out")
        assert not (small / "out").exists()
        subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
        fetch_release.fetch_release("whole", small / "out")
        assert fetch_release.differences(store.need_index("whole")[0], small / "out") == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_fetching_into_a_place_that_holds_something_else_is_refused(store: Store, tmp_path: Path) -> None:
    """Nothing is overwritten; the same release again is recognised; another index is refused where one was named."""
    out = tmp_path / "out"
    fetch_release.fetch_release("whole", out)
    fetch_release.fetch_release("whole", out)
    (out / "dvc.lock").write_text("mine\n")
    with pytest.raises(UserError, match="is not this release: dvc.lock has other bytes"):
        fetch_release.fetch_release("whole", out)
    assert (out / "dvc.lock").read_text() == "mine\n"
    with pytest.raises(UserError, match="asked for was"):
        fetch_release.fetch_release("whole", tmp_path / "pinned", sha256="a" * 64)
    with pytest.raises(UserError, match="release 'nope' is not in .*whole"):
        fetch_release.fetch_release("nope", out)


def test_a_storage_that_ignores_conditions_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without If-None-Match two publishers could overwrite each other."""
    monkeypatch.setattr(Store, "put_new", lambda self, key, body, sha256: self.put_over(key, body, sha256) or True)
    with pytest.raises(UserError, match="ignores If-None-Match"):
        store.check_conditions()


def index_with(**change: object) -> bytes:
    """An index with one file, something of it changed."""
    file = {"path": "models/a.json", "size": 3, "sha256": "a" * 64}
    value = {"format": 1, "name": "v1", "commit": COMMIT, "date": "", "subject": "", "datasets": {}, "files": [file]}
    return json.dumps({**value, **{key: each for key, each in change.items() if key in value}}).encode()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "",
        ".",
        "a/.",
        "C:\\x",
        "a\\b",
        "a\0b",
        "a\nb",
        "x" * 300,
        "nul.",
        "a:b",
    ],
)
def test_a_hostile_path_is_refused(path: str) -> None:
    """No file of a release can leave its directory or be written under a name that means another."""
    payload = index_with(files=[{"path": path, "size": 3, "sha256": "a" * 64}])
    with pytest.raises(UserError, match="must be a plain relative path"):
        parse_index(payload, "v1")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"name": "v2"}, "name is 'v2'"),
        ({"format": 2}, "format is 2"),
        ({"commit": "--exec=x"}, "commit is"),
        ({"files": [{"path": "a", "size": -1, "sha256": "a" * 64}]}, "size of a is -1"),
        ({"files": [{"path": "a", "size": True, "sha256": "a" * 64}]}, "size of a is True"),
        ({"files": [{"path": "a", "size": 1, "sha256": "../a"}]}, "sha256 of a"),
        ({"files": [{"path": p, "size": 1, "sha256": "a" * 64} for p in ("a", "A")]}, "comes twice"),
        ({"files": [{"path": p, "size": 1, "sha256": "a" * 64} for p in ("a/b", "a")]}, "both a file and a directory"),
        ({"files": 3}, "not an index"),
    ],
)
def test_a_hostile_index_is_refused(change: dict[str, object], rule: str) -> None:
    """What is written in an index is checked before any of it is used."""
    with pytest.raises(UserError, match=rule):
        parse_index(index_with(**change), "v1")


def test_an_index_survives_its_bytes() -> None:
    """parse(to_bytes(i)) is i, and equal indexes have equal bytes."""
    index = Index("v1", COMMIT, "2026-01-01", "Subject", {"d": {"kid": 0.5}}, (File("a/b.json", 3, "a" * 64),))
    assert parse_index(index.to_bytes(), "v1") == index
    assert parse_index(index.to_bytes(), "v1").digest() == index.digest()


@pytest.mark.parametrize("name", ["", "-x", "a/b", "..", "a..b", "x" * 65, "a b", "a.", ".json"])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    """A name is part of a key and of a path."""
    with pytest.raises(UserError, match="release name"):
        releases.check_name(name)


def test_parts_are_sorted_and_named_once(store: Store) -> None:
    """The order of an index depends on nothing but its paths."""
    parts = publish.gather(params.load(), COMMIT, "2026-01-01T00:00:00+00:00")
    paths = [part.path for part in parts]
    assert paths == sorted(set(paths))
