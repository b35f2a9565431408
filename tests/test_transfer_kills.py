"""Ten kills at random moments in push, in each pull and in publish: whole objects or none; the next try completes."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from flows import dvc_program, history, releases, restoring, storage, storage_check
from flows.remote import load_remote
from tests import tiny_repository as tiny
from tests import toy_graph

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
KILLS = 10
FILES = 40
RESTORE = """
import sys, time
from flows import history, remote, restoring, storage
asked = [out.md5 for out in history.present_lock()[sys.argv[1]].outs]
restoring.BLOCK = 1 << 14
restoring.restore(remote.load_remote(storage.PLACE), asked, history.cache_dir(), lambda: time.sleep(0.02))
sys.exit(not history.cached(asked[0]).exists())
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with its running storage, nothing of its graph run."""
    place = tiny.make(tmp_path_factory.mktemp("kills") / "tiny")
    try:
        assert tiny.textgan(place, "storage", "start").returncode == 0
        yield place
    finally:
        assert tiny.textgan(place, "storage", "stop").returncode == 0


def timed(command: list[str], place: Path) -> float:
    """Seconds of a whole run."""
    start = time.monotonic()
    done = subprocess.run(command, cwd=place, env=dvc_program.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return time.monotonic() - start


def kill_at_random_moments(command: list[str], place: Path, seconds: float, check: Callable[[], None]) -> None:
    """Start a command until KILLS of its runs were ended by SIGKILL, each within the time of a whole run."""
    moments, killed = random.Random(0), 0
    for _ in range(4 * KILLS):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=place, env=dvc_program.environment(), start_new_session=True, **quiet)
        moment = moments.uniform(0.3, 1.0) * seconds
        time.sleep(moment)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        else:  # the machine has become faster since a whole run was timed
            seconds = moment
        killed += process.wait() == -signal.SIGKILL
        check()
        if killed == KILLS:
            return
    raise AssertionError(f"{killed} of {4 * KILLS} runs were ended; the others were over before")


def new_files(place: Path, name: str) -> Path:
    """A directory of FILES files whose bytes no other has, added to DVC."""
    out = place / "out" / name
    out.mkdir(parents=True)
    for number in range(FILES):
        (out / f"{number:03d}.bin").write_bytes(hashlib.sha256(f"{name}{number}".encode()).digest() * (1 << 13))
    command = dvc_program.command("add", "-q", f"out/{name}")
    (place / ".gitignore").write_text("/pids\n.state\n/runs\n")
    timed(command, place)
    return out


def whole(place: Path) -> dict[str, str]:
    """What is wrong with the stored objects of a repository's storage; what is not pushed yet is not asked for."""
    remote = load_remote(place / storage.PLACE)
    assert remote is not None
    before = Path.cwd()
    os.chdir(place)
    try:
        return {key: why for key, why in storage_check.check(remote).wrong.items() if why.startswith("damaged")}
    finally:
        os.chdir(before)


def cache_is_whole(place: Path) -> bool:
    """Whether each cached object has the bytes of its name."""
    cache = place / ".dvc" / "cache" / "files" / "md5"
    return all(
        hashlib.md5(path.read_bytes()).hexdigest() == (path.parent.name + path.name).removesuffix(".dir")
        for path in cache.glob("??/*")
        if len(path.name.removesuffix(".dir")) == 30
    )


def test_push(repository: Path) -> None:
    new_files(repository, "first")
    seconds = timed(dvc_program.command("push", "out/first.dvc"), repository)
    second = new_files(repository, "second")
    command = dvc_program.command("push", "out/second.dvc")
    remote = load_remote(repository / storage.PLACE)
    assert remote is not None
    store = releases.Store(remote)
    [out] = yaml.safe_load((repository / "out" / "second.dvc").read_text(encoding="utf-8"))["outs"]
    files = [hashlib.md5(path.read_bytes()).hexdigest() for path in second.iterdir()]
    pushed = {f"{remote.prefix}/{history.key_of(md5)}" for md5 in [out["md5"], *files]}

    def stored() -> set[str]:
        return pushed & {key for key, _, _ in store.listed(remote.prefix)}

    def check() -> None:
        assert whole(repository) == {}
        if stored() == pushed:  # all is there: the next kill meets a transfer again
            for key in pushed:
                store.s3.delete_object(Bucket=remote.bucket, Key=key)

    kill_at_random_moments(command, repository, seconds, check)
    timed(command, repository)
    assert stored() == pushed and whole(repository) == {}


def locked(place: Path, name: str) -> None:
    """Record a directory that is added to DVC in dvc.lock too, which is what `textgan storage pull` goes by."""
    [out] = yaml.safe_load((place / "out" / f"{name}.dvc").read_text(encoding="utf-8"))["outs"]
    stage = {"cmd": "true", "outs": [out | {"path": f"out/{name}"}]}
    (place / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {name: stage}}), encoding="utf-8")


PULLS = {
    "dvc": dvc_program.command("pull", "out/dvc.dvc"),
    "storage": [sys.executable, "-m", "textgan.cli", "storage", "pull", "out/storage"],
    "restore": [sys.executable, "-c", RESTORE, "restore"],
}


@pytest.mark.parametrize("name", ["dvc", pytest.param("storage", marks=pytest.mark.long), "restore"])
def test_pull(repository: Path, name: str) -> None:
    """DVC's own, `textgan storage pull`, and by itself, made slow, the transfer in that, which `reproduce` uses."""
    out, command = new_files(repository, name), PULLS[name]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    timed(dvc_program.command("push", f"out/{name}.dvc"), repository)
    locked(repository, name)

    def forget() -> None:
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(repository / ".dvc" / "cache")

    def check() -> None:
        assert cache_is_whole(repository)
        if len(list((repository / ".dvc" / "cache" / "files" / "md5").glob("??/*"))) > FILES:
            forget()  # all has come: the next kill meets a transfer again

    forget()
    seconds = timed(command, repository)
    forget()
    kill_at_random_moments(command, repository, seconds, check)
    timed(command, repository)
    assert cache_is_whole(repository)
    if name == "restore":
        assert not list((repository / ".dvc" / "cache" / restoring.PARTS).iterdir())
        timed(dvc_program.command("pull", f"out/{name}.dvc"), repository)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a commit with large files of its own, beside a release that stands and stays whole."""
    store = toy_graph.store(monkeypatch)
    textgan = str(Path(sys.executable).with_name("textgan"))
    place = toy_graph.make(tmp_path / "second")
    (place / "docs").mkdir()
    for name in ("NOTICE", "docs/results.md"):
        (place / name).write_bytes(os.urandom(16 << 20))
    toy_graph.commit(place, "Large files")
    toy_graph.run(place, textgan, "storage", "attach", str(Path.cwd()))
    command = [textgan, "publish", "--tag", "killed"]
    stands = store.need_index("whole")[0]

    def forget(index: releases.Index) -> None:
        store.s3.delete_object(Bucket=store.remote.bucket, Key=store.index_key(index.name))
        for sha256 in {file.sha256 for file in index.files} - {file.sha256 for file in stands.files}:
            store.s3.delete_object(Bucket=store.remote.bucket, Key=store.object_key(sha256))

    def check() -> None:
        found = store.read_index("killed")
        assert found is None or releases.damaged(store, found[0]) == []
        assert releases.damaged(store, stands) == []
        if found is not None:  # it was over: the next kill meets a publish again
            forget(found[0])

    timed(command, place)  # also pushes what DVC keeps
    check()
    seconds = timed(command, place)
    check()
    kill_at_random_moments(command, place, seconds, check)
    timed(command, place)
    assert releases.damaged(store, store.need_index("killed")[0]) == []
