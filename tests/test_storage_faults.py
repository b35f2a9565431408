"""Faults of the storage, each with a running server: nothing damaged is used, nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import dvc_program, remote, seaweed, storage
from tests import tiny_repository as tiny
from tests.cutting_proxy import CuttingProxy
from tests.tiny_repository import textgan

pytestmark = pytest.mark.slow
FILES = 60


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository whose result is committed and pushed to its running storage."""
    with tiny.with_result(tmp_path_factory.mktemp("faults") / "first") as (place, _sha):
        yield place


@pytest.fixture
def second(first: Path, tmp_path: Path) -> Path:
    """A clone of it, attached to its storage, with nothing restored."""
    return tiny.attached(first, tmp_path / "second")


def known(place: Path) -> remote.Remote:
    found = remote.load_remote(place / storage.PLACE)
    assert found is not None
    return found


def kill_server(place: Path) -> None:
    """SIGKILL, as a failing machine would."""
    with contextlib.chdir(place):
        process = seaweed.running(storage.PLACE)
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def verdict(place: Path) -> dict[str, Any]:
    [path] = (place / storage.STATE / "verdicts").glob("*/verdict.json")
    return json.loads(path.read_text(encoding="utf-8"))


def one_line(text: str) -> str:
    [line] = [line for line in text.strip().splitlines() if line.startswith("error: ")]
    assert "Traceback" not in text
    return line


def object_of(place: Path, out: str, name: str) -> str:
    """Key, below the prefix, of a file of a directory out."""
    stages = yaml.safe_load((place / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    [md5] = [each["md5"] for stage in stages.values() for each in stage["outs"] if each["path"] == out]
    s3, one = remote.client(known(place)), known(place)
    listing = s3.get_object(Bucket=one.bucket, Key=f"{one.prefix}/files/md5/{md5[:2]}/{md5[2:]}")["Body"].read()
    [file] = [item["md5"] for item in json.loads(listing) if item["relpath"] == name]
    return f"{one.prefix}/files/md5/{file[:2]}/{file[2:]}"


def dvc(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = dvc_program.command(*arguments)
    return subprocess.run(command, cwd=place, env=dvc_program.environment(), capture_output=True, text=True)


def big_out(place: Path, files: int = FILES) -> Path:
    """A directory of many incompressible files, added to DVC."""
    out = place / "out" / "many"
    out.mkdir(parents=True)
    for number in range(files):
        block = hashlib.sha256(f"{place}{number}".encode()).digest()
        (out / f"{number:03d}.bin").write_bytes(block * (1 << 14))  # 512 KiB
    (place / ".gitignore").write_text(".state\n")
    done = dvc(place, "add", "-q", "out/many")
    assert done.returncode == 0, done.stderr
    return out


def test_a_storage_that_is_down_is_said_and_nothing_is_claimed(first, second):
    """Exit code 2, not 1: that the server is down says nothing of the commit. Started again, the same command works."""
    with contextlib.chdir(first):
        seaweed.stop(storage.PLACE)
    done = textgan(second, "reproduce", "HEAD", "--verify", "hashes")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "cannot be had: storage: http://127.0.0.1" in done.stdout and "does not answer" in done.stdout
    assert "Traceback" not in done.stderr
    done = textgan(second, "repro")
    assert done.returncode == 1 and "does not answer" in one_line(done.stderr)
    assert not (second / "out").exists()  # no stage ran for a result that could not be kept
    assert textgan(first, "storage", "start").returncode == 0
    done = textgan(second, "reproduce", "HEAD", "--verify", "hashes")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_push_into_a_server_that_is_killed_loses_nothing_and_goes_on(first, second):
    """What was stored before the kill is there and whole after the restart; the second push completes the rest."""
    big_out(second)
    one, prefix = known(second), f"{known(second).prefix}/files/md5"
    s3 = remote.client(one)

    def keys() -> set[str]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=one.bucket, Prefix=prefix)
        return {item["Key"] for page in pages for item in page.get("Contents", [])}

    before = keys()
    command = dvc_program.command("push", "-j", "2", "out/many.dvc")
    pushing = subprocess.Popen(
        command, cwd=second, env=dvc_program.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(keys() - before) < 5 and pushing.poll() is None:
        time.sleep(0.01)
    stored = keys() - before
    assert stored and len(stored) < FILES, "the push was over before the kill"
    kill_server(first)
    pushing.terminate()
    pushing.wait(60)
    assert textgan(first, "storage", "start").returncode == 0
    one = known(first)
    s3 = remote.client(one)
    for key in stored:
        body = s3.get_object(Bucket=one.bucket, Key=key)["Body"].read()
        assert hashlib.md5(body).hexdigest() == "".join(key.split("/")[-2:])
    assert textgan(second, "storage", "start").returncode == 0
    done = dvc(second, "push", "out/many.dvc")
    assert done.returncode == 0, done.stderr
    assert len(keys() - before) == FILES + 1  # and the directory's listing
    done = textgan(second, "storage", "check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_damaged_object_is_found_by_its_hash_and_not_used(first, second):
    """The same length, another byte: pull, reproduce and check name it; nobody gets the wrong bytes."""
    one, key = known(first), object_of(first, "out/middle-one", "result.txt")
    s3 = remote.client(one)
    body = s3.get_object(Bucket=one.bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=one.bucket, Key=key, Body=b"?" + body[1:])
    try:
        done = textgan(second, "reproduce", "HEAD", "--verify", "hashes")
        assert done.returncode == 2, done.stdout + done.stderr
        rows = {row["name"]: row for row in verdict(second)["stages"]}
        assert rows["middle@one"]["verdict"] == "not verifiable"
        assert "not restored" in rows["middle@one"]["detail"]
        assert rows["middle@two"]["verdict"] == "restored, not rerun"
        assert dvc(second, "pull").returncode != 0
        assert not (second / "out" / "middle-one" / "result.txt").exists()
        done = textgan(second, "storage", "check")
        assert (
            done.returncode == 1 and key.partition("/")[2] in done.stdout and "out/middle-one/result.txt" in done.stdout
        )
        assert textgan(second, "storage", "check", "--mend").returncode == 1  # this clone has no right bytes
        done = textgan(first, "storage", "check", "--mend")
        assert done.returncode == 0 and "written again from the cache" in done.stdout
        assert dvc(second, "pull").returncode == 0
    finally:
        s3.put_object(Bucket=one.bucket, Key=key, Body=body)


def test_a_truncated_cache_file_is_neither_used_nor_pushed(first, second):
    """DVC notices it; the stage is restored or run again, and the storage stays whole."""
    assert dvc(second, "pull").returncode == 0
    listed = yaml.safe_load((second / "dvc.lock").read_text(encoding="utf-8"))["stages"]["middle@one"]["outs"][0]["md5"]
    cache = second / ".dvc" / "cache" / "files" / "md5"
    [file] = [
        item["md5"]
        for item in json.loads((cache / listed[:2] / listed[2:]).read_text(encoding="utf-8"))
        if item["relpath"] == "result.txt"
    ]
    place = cache / file[:2] / file[2:]
    whole = place.read_bytes()
    place.chmod(0o644)
    place.write_bytes(whole[:10])
    shutil.rmtree(second / "out")
    done = textgan(second, "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (second / "out" / "middle-one" / "result.txt").read_bytes() == whole
    assert tiny.git(second, "status", "--porcelain", "--", "dvc.lock") == ""
    assert textgan(second, "storage", "check").returncode == 0


def test_a_connection_that_is_cut_between_two_blocks(first, second):
    """Push and pull through a proxy that drops connections: they end well, or with an error and go on."""
    out = big_out(second, 12)
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    proxy = CuttingProxy(known(first).endpoint, cuts=6, after=200_000)
    try:
        one = known(second)
        one.endpoint = proxy.endpoint
        remote.write_dvc_config(one, second)
        assert any(dvc(second, "push", "out/many.dvc").returncode == 0 for _ in range(4))
        assert proxy.cuts == 0
        shutil.rmtree(out)
        shutil.rmtree(second / ".dvc" / "cache")
        proxy.cuts = 6
        assert any(dvc(second, "pull", "out/many.dvc").returncode == 0 for _ in range(4))
        assert proxy.cuts == 0
        assert {path.name: path.read_bytes() for path in out.iterdir()} == whole
    finally:
        proxy.listener.close()


def test_a_bucket_that_is_missing_is_named(first, tmp_path):
    one = known(first)
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"access_key": one.access_key, "secret_key": one.secret_key}))
    place = tmp_path / "clone"
    tiny.git(first, "clone", "-q", str(first), str(place))
    done = textgan(
        place, "storage", "attach", one.endpoint, "--credentials", str(keys), "--url", "s3://nowhere/textgan"
    )
    assert done.returncode == 1
    assert "does not have the bucket 'nowhere'" in one_line(done.stderr)


def test_keys_that_became_wrong_are_named(first, second):
    """In the middle of a clone's life: exit code 2 with the cause, and the key is not printed."""
    place = second / storage.PLACE / "remote.json"
    value = json.loads(place.read_text(encoding="utf-8"))
    value |= {"secret_key": "0" * 40, "attached_to": value["endpoint"]}
    place.write_text(json.dumps(value))
    done = textgan(second, "reproduce", "HEAD")
    assert done.returncode == 2 and "refuses the credentials" in done.stdout
    assert "0" * 40 not in done.stdout + done.stderr


def test_a_full_disk_is_said_and_leaves_nothing(first, second, tmp_path):
    """A file system of 64 KiB: neither a pull nor a worktree is taken for whole."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no right to mount a small file system here")
    try:
        out = big_out(second, 2)
        assert dvc(second, "push", "out/many.dvc").returncode == 0
        shutil.rmtree(out)
        shutil.rmtree(second / ".dvc" / "cache")
        (second / ".dvc" / "cache").symlink_to(small)
        done = dvc(second, "pull", "out/many.dvc")
        assert done.returncode != 0 and "No space left" in done.stderr + done.stdout
        assert not [path for path in out.glob("*") if path.stat().st_size != 512 << 10]
        (second / ".dvc" / "cache").unlink()
        assert dvc(second, "pull", "out/many.dvc").returncode == 0
        done = textgan(second, "reproduce", "HEAD", "--verify", "hashes", "--keep", str(small))
        assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done.stdout + done.stderr
        assert "is reproduced" not in done.stdout
    finally:
        subprocess.run(["umount", str(small)], check=True)
