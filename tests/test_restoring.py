"""Objects brought into DVC's cache: right bytes under their hash, or nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import dvc_program, history, remote, restoring, storage
from tests import tiny_repository as tiny
from tests.cutting_proxy import CuttingProxy
from tests.tiny_repository import textgan

REMOTE = remote.Remote("http://127.0.0.1:1", "dvc", "textgan", "us-east-1", "key", "secret", "", None)


def md5_of(payload: bytes) -> str:
    return hashlib.md5(payload, usedforsecurity=False).hexdigest()


class Bucket:
    """Objects by hash; some are cut off while they are read."""

    def __init__(self, *payloads: bytes) -> None:
        self.objects = {md5_of(payload): payload for payload in payloads}
        self.cut: set[str] = set()
        self.asked: list[str] = []

    def add_directory(self, files: dict[str, bytes]) -> str:
        listing = json.dumps([{"md5": md5_of(files[name]), "relpath": name} for name in sorted(files)]).encode()
        self.objects |= {md5_of(payload): payload for payload in files.values()}
        self.objects[f"{md5_of(listing)}.dir"] = listing
        return f"{md5_of(listing)}.dir"

    def get_object(self, **asked: str) -> dict[str, Any]:
        from botocore.exceptions import ClientError

        head, _, tail = asked["Key"].removeprefix("textgan/files/md5/").partition("/")
        md5 = head + tail
        self.asked.append(md5)
        if md5 not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": Body(self.objects[md5], md5 in self.cut)}


class Body:
    def __init__(self, payload: bytes, cut: bool) -> None:
        self.payload, self.cut = payload, cut

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        from botocore.exceptions import ResponseStreamingError

        assert size > 0
        yield self.payload[: len(self.payload) // 2]
        if self.cut:
            raise ResponseStreamingError(error="connection closed")
        yield self.payload[len(self.payload) // 2 :]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    made = Bucket(b"a file", b"another")
    monkeypatch.setattr(restoring, "client", lambda _remote: made)
    return made


def files_below(place: Path) -> dict[str, bytes]:
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_a_directory_comes_with_its_files_and_is_asked_for_once(bucket: Bucket, tmp_path: Path) -> None:
    directory = bucket.add_directory({"a.txt": b"one", "b/c.txt": b"two", "same.txt": b"one"})
    assert restoring.restore(REMOTE, [directory, md5_of(b"a file"), directory], tmp_path) == 4
    for md5, payload in {directory: bucket.objects[directory], md5_of(b"one"): b"one", md5_of(b"two"): b"two"}.items():
        place = history.cached(md5, tmp_path)
        assert place.read_bytes() == payload
        assert stat.S_IMODE(place.stat().st_mode) == restoring.MODE
    asked = list(bucket.asked)
    assert sorted(asked) == sorted({directory, md5_of(b"one"), md5_of(b"two"), md5_of(b"a file")})
    assert restoring.restore(REMOTE, [directory, md5_of(b"a file")], tmp_path) == 0
    assert bucket.asked == asked


def test_what_is_missing_damaged_or_cut_off_leaves_no_trace(bucket: Bucket, tmp_path: Path) -> None:
    """Also a listing whose bytes are not those of its hash: its files are not even asked for."""
    damaged, cut = md5_of(b"a file"), md5_of(b"another")
    bucket.objects[damaged] = b"A file"  # as long
    bucket.cut.add(cut)
    directory = bucket.add_directory({"a.txt": b"one"})
    bucket.objects[directory] = bucket.objects[directory].replace(b"a.txt", b"b.txt")
    assert restoring.restore(REMOTE, [damaged, cut, md5_of(b"never stored"), directory], tmp_path) == 0
    assert files_below(tmp_path) == {}
    assert md5_of(b"one") not in bucket.asked


HANGING = """
import sys, time
from pathlib import Path
from flows import restoring
from tests.test_restoring import REMOTE, Body, Bucket, md5_of

class Hanging(Body):
    def iter_chunks(self, size):
        yield self.payload[:3]
        print("half", flush=True)
        time.sleep(600)

class Slow(Bucket):
    def get_object(self, **asked):
        return {"Body": Hanging(b"a file", False)}

restoring.client = lambda _remote: Slow()
restoring.BLOCK = 1
restoring.restore(REMOTE, [md5_of(b"a file")], Path(sys.argv[1]))
"""


def test_what_a_killed_pull_left_is_no_file_of_the_cache_and_goes_with_the_next(bucket: Bucket, tmp_path: Path) -> None:
    """Parts of one that is alive stay."""
    command = [sys.executable, "-c", HANGING, str(tmp_path)]
    root = Path(__file__).parents[1]
    pulls = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert [pull.stdout and pull.stdout.readline() for pull in pulls] == ["half\n"] * 2
        pulls[0].kill()
        pulls[0].wait()
        parts = files_below(tmp_path)
        assert len(parts) == 2 and all(name.startswith(f"{restoring.PARTS}/") for name in parts)
        assert restoring.restore(REMOTE, [md5_of(b"another")], tmp_path) == 1
        left = [name for name in files_below(tmp_path) if name.startswith(f"{restoring.PARTS}/")]
        assert len(left) == 1
    finally:
        for pull in pulls:
            pull.kill()
            pull.wait()
    assert restoring.restore(REMOTE, [md5_of(b"a file")], tmp_path) == 1
    assert sorted(files_below(tmp_path).values()) == [b"a file", b"another"]
    assert not list((tmp_path / restoring.PARTS).iterdir())


def test_a_cache_that_nothing_can_be_written_to_is_left_to_dvc(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    assert restoring.restore(REMOTE, [md5_of(b"a file")], tmp_path / "cache") == 0


def test_a_stopped_transfer_ends_between_two_blocks_and_leaves_no_part(bucket: Bucket, tmp_path: Path) -> None:
    """What the caller's check raises is the caller's; no half of the object stays."""
    blocks = []

    def check() -> None:
        blocks.append(1)
        if len(blocks) == 2:
            raise RuntimeError("the run was cancelled")

    with pytest.raises(RuntimeError, match="cancelled"):
        restoring.restore(REMOTE, [md5_of(b"a file")], tmp_path, check)
    assert len(blocks) == 2 and files_below(tmp_path) == {}


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 31, "0" * 32 + ".dir/..", "None"])
def test_what_is_no_hash_is_not_asked_for(bucket: Bucket, tmp_path: Path, name: str) -> None:
    assert restoring.restore(REMOTE, [name], tmp_path) == 0
    assert bucket.asked == [] and files_below(tmp_path) == {}


@pytest.mark.parametrize("listing", [b"no JSON", b"{}", b'[{"relpath": "a"}]', b"[3]"])
def test_a_listing_that_is_none_is_left_to_dvc(bucket: Bucket, tmp_path: Path, listing: bytes) -> None:
    """Its bytes have their hash, and they name no files."""
    name = f"{md5_of(listing)}.dir"
    bucket.objects[name] = listing
    assert restoring.restore(REMOTE, [name, "../../etc/x.dir"], tmp_path) == 1
    assert bucket.asked == [name]


@pytest.mark.slow
def test_pull_brings_all_or_what_was_asked_for_also_over_a_network_that_is_cut(tmp_path: Path) -> None:
    """And what it brings is what DVC itself would have: `dvc status` and `dvc pull` have nothing to add."""
    with tiny.with_result(tmp_path / "first") as (first, _sha):
        second = tiny.attached(first, tmp_path / "second")
        whole = {name: files_below(first / "out" / name) for name in ("first-one", "middle-one", "middle-two")}
        done = textgan(second, "storage", "pull", "first@one")
        assert done.returncode == 0, done.stdout + done.stderr
        assert [path.name for path in (second / "out").iterdir()] == ["first-one"]
        one = remote.load_remote(second / storage.PLACE)
        assert one is not None
        proxy = CuttingProxy(one.endpoint, cuts=3, after=200)
        try:
            one.endpoint = proxy.endpoint
            remote.write_dvc_config(one, second)
            restoring.restore(one, [out.md5 for out in outs_of(second)], history.cache_dir(second))
        finally:
            proxy.listener.close()
        assert proxy.cuts < 3
        cache = history.cache_dir(second) / "files" / "md5"
        for name, payload in files_below(cache).items():
            assert md5_of(payload) == name.replace("/", "").removesuffix(".dir")
        done = textgan(second, "storage", "pull")
        assert done.returncode == 0, done.stdout + done.stderr
        assert {name: files_below(second / "out" / name) for name in whole} == whole
        for command, said in ((["status"], "up to date"), (["pull"], "up to date")):
            shown = dvc_program.run(*command, say=str, cwd=second, merge_errors=True)
            assert shown.code == 0 and said in " ".join(shown.tail), shown.tail
        shutil.rmtree(second / "out")
        assert textgan(second, "storage", "pull", "no-such-stage").returncode == 1


@pytest.mark.slow
def test_repro_in_an_attached_clone_brings_what_needs_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outs of a stage that will run again are not asked for, nor those that no target needs."""
    with tiny.with_result(tmp_path / "first") as (first, _sha):
        second = tiny.attached(first, tmp_path / "second")
        monkeypatch.chdir(second)
        params = second / "params.yaml"
        params.write_text(params.read_text(encoding="utf-8").replace("seed: 2", "seed: 9", 1), encoding="utf-8")
        one = remote.load_remote(storage.PLACE)
        assert one is not None
        cache = history.cache_dir()
        files = 3  # of each out, with its listing
        assert restoring.bring_for_repro(one, ["first"], True) == 0 and files_below(cache / "files") == {}
        assert restoring.bring_for_repro(one, ["first"], False) == files
        assert restoring.bring_for_repro(one, [], False) == files
        brought = {place.parts[-2] + place.parts[-1] for place in map(Path, files_below(cache / "files"))}
        of_one = {out.md5 for out in outs_of(first) if out.path in ("out/first-one", "out/middle-one")}
        assert {md5 for md5 in brought if md5.endswith(".dir")} == of_one
        done = textgan(second, "repro")
        assert done.returncode == 0 and "4 restored" not in done.stdout, done.stdout + done.stderr
        for name in ("first-one", "middle-one"):
            assert files_below(second / "out" / name) == files_below(first / "out" / name)
        assert files_below(second / "out" / "first-two") != {}
        assert restoring.bring_for_repro(one, [], False) == 0


def outs_of(place: Path) -> list[history.Entry]:
    stages = history.parse_lock((place / "dvc.lock").read_text(encoding="utf-8"))
    return [out for stage in stages.values() for out in stage.outs]
