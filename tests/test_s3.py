"""Exports in S3, with a real server: what arrives is the object or nothing, whatever the connection does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flows import exports, remote, seaweed, storage
from pipeline import images, s3, s3_tree
from pipeline.exports import open_export
from pipeline.plan import plan
from tests.cutting_proxy import CuttingProxy
from tests.lmdb_exports import pictures, write_lmdb
from textgan.dataset import ImageShards
from textgan.errors import UserError

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[remote.Remote]:
    """A server with one export, uploaded as one object and, under another name, in parts."""
    place, before = tmp_path_factory.mktemp("s3"), Path.cwd()
    os.chdir(place)
    (place / ".dvc").mkdir()
    try:
        found = storage.ensure_started()
        data = write_lmdb(place / "cat", pictures(600)) / "data.mdb"
        client = remote.client(found)
        client.put_object(Bucket="dvc", Key="lsun/cat/data.mdb", Body=data.read_bytes())
        client.put_object(Bucket="dvc", Key="lsun/cat/annotations.jsonl", Body=b'{"key": "k"}\n')
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(multipart_threshold=1 << 20, multipart_chunksize=5 << 20)
        client.upload_file(str(data), "dvc", "parts/data.mdb", Config=parts)
        yield found
    finally:
        os.chdir(place)
        seaweed.stop(storage.PLACE)
        os.chdir(before)


@pytest.fixture
def s3_environment(server, tmp_path, monkeypatch) -> remote.Remote:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(s3, "BACK_OFF_SECONDS", (0.01,) * 4)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    return server


def stored(server: remote.Remote, key: str = "lsun/cat/data.mdb") -> bytes:
    return remote.client(server).get_object(Bucket="dvc", Key=key)["Body"].read()


def test_an_export_in_s3_is_brought_once(s3_environment, capsys):
    place = s3.local_export("s3://dvc/lsun/cat/")
    assert (place / "data.mdb").read_bytes() == stored(s3_environment)
    assert (place / "annotations.jsonl").exists()
    assert re.search(r"data\.mdb: \d+ bytes, (md5|crc32|sha256) verified", capsys.readouterr().out)
    before = (place / "data.mdb").stat().st_mtime_ns
    assert s3.local_export("s3://dvc/lsun/cat/") == place
    assert (place / "data.mdb").stat().st_mtime_ns == before


def test_broken_connections_are_gone_on_from(s3_environment, monkeypatch, capsys):
    proxy = CuttingProxy(s3_environment.endpoint, cuts=3, after=300_000)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    place = s3.fetch_export("s3://dvc/parts/", Path("out"))
    assert (place / "data.mdb").read_bytes() == stored(s3_environment)
    printed = capsys.readouterr().out
    here = [int(number) for number in re.findall(r"\((\d+) of", printed)]
    assert len(here) >= 2 and here == sorted(here) and here[-1] > here[0] > 0, printed
    proxy.listener.close()


def test_a_later_command_goes_on_from_the_part(s3_environment):
    whole = stored(s3_environment)
    out = s3.fetch_export("s3://dvc/lsun/cat/", Path("out"))
    (out / "data.mdb").rename(out / "data.mdb.part")
    with open(out / "data.mdb.part", "r+b") as file:
        file.truncate(len(whole) // 2)
    s3.fetch_export("s3://dvc/lsun/cat/", out)
    assert (out / "data.mdb").read_bytes() == whole and not (out / "data.mdb.part").exists()


def test_a_part_that_was_damaged_is_not_accepted(s3_environment):
    whole = stored(s3_environment)
    out = s3.fetch_export("s3://dvc/lsun/cat/", Path("out"))
    (out / "data.mdb").unlink()
    (out / "data.mdb.part").write_bytes(b"x" * 1000)
    with pytest.raises(UserError, match="arrived with .* the server says"):
        s3.fetch_export("s3://dvc/lsun/cat/", out)
    s3.fetch_export("s3://dvc/lsun/cat/", out)
    assert (out / "data.mdb").read_bytes() == whole


def test_another_object_of_that_name_is_read_from_the_beginning(s3_environment):
    client = remote.client(s3_environment)
    client.put_object(Bucket="dvc", Key="new/data.mdb", Body=b"a" * 5000)
    out = s3.fetch_export("s3://dvc/new", Path("out"))
    (out / "data.mdb").rename(out / "data.mdb.part")
    client.put_object(Bucket="dvc", Key="new/data.mdb", Body=b"b" * 7000)
    assert (s3.fetch_export("s3://dvc/new", out) / "data.mdb").read_bytes() == b"b" * 7000


@pytest.mark.parametrize(
    ("url", "environment", "message"),
    [
        ("s3://dvc/nowhere/", {}, "no such object"),
        ("s3://nobucket/cat/", {}, "no bucket 'nobucket'"),
        ("s3://dvc/lsun/cat", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "refuses the credentials"),
        ("s3://dvc/lsun/cat", {"AWS_ACCESS_KEY_ID": "nobody"}, "refuses the credentials"),
        ("s3://dvc/lsun/cat", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached"),
        ("s3://dvc", {}, "must be s3://BUCKET/PREFIX/"),
    ],
)
def test_what_is_wrong_is_one_line(s3_environment, monkeypatch, url, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message) as caught:
        s3.local_export(url)
    assert "\n" not in str(caught.value) and s3_environment.secret_key not in str(caught.value)


def test_images_are_built_from_s3_as_from_the_disk(s3_environment):
    (Path("disk") / "cat").mkdir(parents=True)
    (Path("disk") / "cat" / "data.mdb").write_bytes(stored(s3_environment))
    sizes = ["--width", "32", "--height", "32", "--workers", "1", "--limit", "30"]
    for source, out in (("s3://dvc/lsun/cat/", "a"), ("disk/cat", "b")):
        images.by_hand(images.parser().parse_args([source, out, *sizes]))
    assert Path("a/train-00000.tar").read_bytes() == Path("b/train-00000.tar").read_bytes()


@pytest.fixture
def tree(s3_environment) -> dict[bytes, bytes]:
    """The values of an image tree, on the disk and, under tree/, in S3."""
    values, client = pictures(40), remote.client(s3_environment)
    for key, value in values.items():
        name = f"{'/'.join(key.decode()[-3:])}/{key.decode()}.webp"
        Path("disk", name).parent.mkdir(parents=True, exist_ok=True)
        Path("disk", name).write_bytes(value)
        client.put_object(Bucket="dvc", Key=f"tree/{name}", Body=value)
    client.put_object(Bucket="dvc", Key="tree/README.txt", Body=b"no image")
    return values


def test_an_image_tree_is_packed_and_gone_on_with(tree, s3_environment, monkeypatch):
    monkeypatch.setattr(s3_tree, "COMMIT", 8)
    whole = s3.fetch_export("s3://dvc/tree/", Path("whole")) / "data.mdb"
    assert dict(open_export(whole).items()) == tree
    fetch, asked = s3_tree._value, []

    def broken(client, bucket, item):
        asked.append(item.key)
        if item.key == sorted(tree)[21]:
            raise UserError("cut")
        return fetch(client, bucket, item)

    monkeypatch.setattr(s3_tree, "_value", broken)
    with pytest.raises(UserError, match="cut"):
        s3.fetch_export("s3://dvc/tree/", Path("cut"))
    assert not Path("cut/data.mdb").exists()
    asked.clear()
    monkeypatch.setattr(s3_tree, "_value", lambda *arguments: asked.append(arguments[2].key) or fetch(*arguments))
    s3.fetch_export("s3://dvc/tree/", Path("cut"))
    assert sorted(asked) == sorted(tree)[16:]
    assert Path("cut/data.mdb").read_bytes() == whole.read_bytes()
    asked.clear()
    s3.fetch_export("s3://dvc/tree/", Path("cut"))
    assert not asked


def test_an_image_tree_survives_broken_connections(tree, s3_environment, monkeypatch):
    proxy = CuttingProxy(s3_environment.endpoint, cuts=2, after=8_000)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    assert dict(open_export(s3.fetch_export("s3://dvc/tree", Path("out"))).items()) == tree
    assert proxy.cuts < 2
    proxy.listener.close()


def test_images_are_built_from_a_tree_in_s3_as_from_the_disk(tree):
    sizes = ["--width", "32", "--height", "32", "--workers", "1"]
    for source, out in (("s3://dvc/tree/", "a/tree"), ("disk", "b/tree")):
        images.by_hand(images.parser().parse_args([source, out, *sizes]))
    found = [images_of(Path(place, "tree")) for place in ("a", "b")]
    assert len(found[0]) == len(tree) and found[0] == found[1]


def images_of(directory: Path) -> dict[str, bytes]:
    """The encoded images of a build by their keys in the export."""
    shards = [ImageShards(directory, split) for split in ("train", "select", "test")]
    return {key.split("-", 1)[1]: bytes(part.encoded(i)) for part in shards for i, key in enumerate(part.keys)}


def test_the_plan_lists_what_is_in_s3_and_measures_what_was_brought(tree, capsys, monkeypatch):
    preset = yaml.safe_load((REPOSITORY / "presets/sample.yaml").read_text())
    only = next(iter(preset["datasets"].values())) | {"exports": ["cat", "car"]}
    Path("p.yaml").write_text(yaml.safe_dump(preset | {"draw": {}, "datasets": {"d": only}}))
    exports.PLACES.write_text("cat: s3://dvc/lsun/cat/\ncar: s3://dvc/tree\n")
    plan("p.yaml", None, 5)
    out = capsys.readouterr().out
    assert re.search(r"cat: s3://dvc/lsun/cat/, an LMDB of .* MB; not brought to this machine, so not measured", out)
    assert re.search(r"car: s3://dvc/tree, 40 images of .* kB; not brought", out) and "nothing was measured" in out
    s3.local_export("s3://dvc/tree")
    plan("p.yaml", ["cat=s3://dvc/tree"], 5)
    out = capsys.readouterr().out
    assert out.count("40 entries") == 2 and "not measured; " not in out
    with pytest.raises(UserError, match="no such object"):
        plan("p.yaml", ["cat=s3://dvc/nothing/"], 5)


def test_two_images_of_one_name_in_a_tree_are_refused(s3_environment):
    for name in ("a/x.webp", "b/x.jpg"):
        remote.client(s3_environment).put_object(Bucket="dvc", Key=f"twice/{name}", Body=b"value")
    with pytest.raises(UserError, match="twice/b/x.jpg: twice/a/x.webp has the same name"):
        s3.fetch_export("s3://dvc/twice/", Path("out"))


def test_the_program_and_exports_local_yaml(s3_environment, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    exports.PLACES.write_text("cat: s3://dvc/lsun/cat/\n")
    assert exports._brought(exports._place("cat", "catcar")) / "data.mdb" in list(Path(".state/exports").glob("*/*"))
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline.s3", "s3://dvc/nowhere/", "out"], capture_output=True, text=True
    )
    assert ended.returncode == 1 and len(ended.stderr.strip().splitlines()) == 1
