"""Image shards: nothing lost, the same bytes however they are built, readable without our code."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import build, engines, images, ingest, work_places
from pipeline.inspect import inspect
from pipeline.shards import ShardTask, sign, write_tar
from pipeline.verify import verify
from tests.dying_workers import die_always, die_in_mid_shard, die_once, own_pid
from tests.lmdb_exports import encode, picture, pictures, write_lmdb
from textgan.dataset import ImageShards
from textgan.errors import UserError
from textgan.files import sha256_file
from textgan.params import ImagesParams, IngestParams
from textgan.records import sample_key

PARAMS = ImagesParams(
    width=32,
    height=24,
    geometry="center_crop",
    small="upscale",
    format="jpg",
    quality=95,
    shard_mb=1,
    max_images=None,
    duplicates="keep",
)
INGEST = IngestParams(seed=0, select=0.1, test=0.2, max_pixels=1_000_000)
REPOSITORY = Path(__file__).parents[1]


def request(tmp_path: Path, exports: dict[str, Path], params: ImagesParams = PARAMS, workers: int = 1) -> build.Request:
    """A build of some exports, ingested."""
    inventory = tmp_path / "inventory"
    if not inventory.exists():
        inventory.mkdir()
        ingest.write_inventory(exports, INGEST, inventory)
    return build.Request(
        dataset="d",
        inventory=inventory / "inventory.parquet",
        exports=exports,
        params=params,
        seed=0,
        max_pixels=INGEST.max_pixels,
        workers=workers,
    )


def digests(directory: Path) -> dict[str, str]:
    """sha256 of every file of a directory."""
    return {path.name: sha256_file(path) for path in sorted(directory.iterdir())}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two exports with good and bad values."""
    root = tmp_path_factory.mktemp("exports")
    bad = {b"text": b"not an image", b"none": b"", b"cut": encode(picture(60, 60))[:700]}
    return {"cat": write_lmdb(root / "cat", pictures(40) | bad), "car": write_lmdb(root / "car", pictures(30, 1))}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven images a shard, so that small exports have many."""
    monkeypatch.setattr(build, "_images_per_shard", lambda *_: 7)


def test_nothing_is_lost(tmp_path: Path, exports: dict[str, Path]) -> None:
    """Every inventory row is an image or a rejected row with a reason; splits are those of the inventory."""
    build.build(request(tmp_path, exports), tmp_path / "work", tmp_path / "out")
    inventory = pd.read_parquet(tmp_path / "inventory/inventory.parquet").set_index("sample_key")
    rejected = pd.read_parquet(tmp_path / "out/rejected.parquet")
    kept = {key: split for split in ("train", "select", "test") for key in ImageShards(tmp_path / "out", split).keys}
    assert sorted([*kept, *rejected["sample_key"]]) == sorted(inventory.index)
    assert dict(zip(rejected["sample_key"], rejected["reason"], strict=True)) == {
        "cat-cut": "undecodable",
        "cat-none": "empty",
        "cat-text": "unknown_format",
    }
    assert all(inventory.loc[key, "split"] == split for key, split in kept.items())
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("workers", [2, 3])
def test_same_bytes_for_any_number_of_workers(
    tmp_path: Path, exports: dict[str, Path], small_shards: None, workers: int
) -> None:
    """One process and several give equal files."""
    build.build(request(tmp_path, exports), tmp_path / "work", tmp_path / "one")
    build.build(request(tmp_path, exports, workers=workers), tmp_path / "work", tmp_path / "more")
    assert digests(tmp_path / "one") == digests(tmp_path / "more")
    assert len(list((tmp_path / "one").glob("train-*.tar"))) > 3


def test_resuming_equals_not_stopping(
    tmp_path: Path, exports: dict[str, Path], small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that ends in mid-way goes on at the first unfinished shard, and gives the same bytes."""
    build.build(request(tmp_path, exports), tmp_path / "work", tmp_path / "whole")
    built = []

    def fail_at_fourth(task):
        built.append(task.path.name)
        if len(built) == 4:
            raise KeyboardInterrupt
        return original(task)

    original = build.build_shard
    monkeypatch.setattr(build, "build_shard", fail_at_fourth)
    with pytest.raises(KeyboardInterrupt):
        build.build(request(tmp_path, exports), tmp_path / "work", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    build.build(request(tmp_path, exports), tmp_path / "work", tmp_path / "out")
    assert sorted(set(built[:3]) & set(built[4:])) == []
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_subset_counts_images_kept(tmp_path: Path, exports: dict[str, Path], small_shards: None) -> None:
    """max_images of each export are kept although some chosen ones are undecodable; a larger subset holds a smaller."""
    spoiled = pictures(40, 5)
    for idx, key in enumerate(spoiled):
        if idx % 3 == 0:
            spoiled[key] = spoiled[key][:300]  # a good header and too few bytes
    sources = {"cat": write_lmdb(tmp_path / "cat", spoiled), "car": exports["car"]}
    kept = {}
    for count in (5, 15):
        params = dataclasses.replace(PARAMS, max_images=count)
        build.build(request(tmp_path, sources, params), tmp_path / "work", tmp_path / "out")
        shards = [ImageShards(tmp_path / "out", split) for split in ("train", "select", "test")]
        kept[count] = {key for split in shards for key in split.keys}
        assert len([key for key in kept[count] if key.startswith("cat-")]) == count
        assert len([key for key in kept[count] if key.startswith("car-")]) == count
    assert kept[5] < kept[15]


def test_small_images(tmp_path: Path, exports: dict[str, Path]) -> None:
    """`reject` leaves small images out with a reason, `upscale` counts them; both account for all."""
    params = dataclasses.replace(PARAMS, width=64, height=64)
    good = {"car": exports["car"]}
    line = build.build(request(tmp_path, good, params), tmp_path / "work", tmp_path / "up")
    upscaled = int(line.split("(")[1].split(" ")[0])
    build.build(
        request(tmp_path, good, dataclasses.replace(params, small="reject")), tmp_path / "work", tmp_path / "out"
    )
    rejected = pd.read_parquet(tmp_path / "out/rejected.parquet")
    assert (rejected["reason"] == "too_small").sum() == upscaled > 0


def test_exact_duplicates_are_named(tmp_path: Path) -> None:
    """The first of equal values stays; the others name it."""
    value = encode(picture(40, 40))
    export = write_lmdb(tmp_path / "cat", {b"a": value, b"b": encode(picture(40, 40, 1)), b"c": value})
    params = dataclasses.replace(PARAMS, duplicates="exact")
    build.build(request(tmp_path, {"cat": export}, params), tmp_path / "work", tmp_path / "out")
    rejected = pd.read_parquet(tmp_path / "out/rejected.parquet")
    assert rejected.values.tolist() == [["cat-c", "duplicate", "cat-a"]]


@pytest.mark.parametrize("workers", [1, 2])
def test_similar_pictures_are_named(tmp_path: Path, workers: int) -> None:
    """A picture compressed again is left out and names the first; others and undecodable ones are not touched."""
    values = {f"{idx}".encode(): encode(picture(60, 50, idx), quality=95) for idx in range(6)}
    values |= {b"9": encode(picture(60, 50, 2), quality=60), b"x": values[b"1"][:500]}
    export = write_lmdb(tmp_path / "cat", values)
    params = dataclasses.replace(PARAMS, duplicates="perceptual")
    build.build(request(tmp_path, {"cat": export}, params, workers), tmp_path / "work", tmp_path / "out")
    rejected = pd.read_parquet(tmp_path / "out/rejected.parquet")
    assert rejected[["sample_key", "reason"]].values.tolist() == [["cat-9", "similar"], ["cat-x", "undecodable"]]
    assert rejected["detail"][0] == "cat-2"


def test_signatures_survive_a_kill(tmp_path: Path, exports: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for similar pictures goes on where it ended: 108 bytes an image in the place of unfinished work."""
    params, signed = dataclasses.replace(PARAMS, duplicates="perceptual"), []
    build.build(request(tmp_path, exports, params), tmp_path / "work", tmp_path / "whole")

    def fail_at_third(task: ShardTask) -> int:
        signed.append(len(task.rows))
        if len(signed) == 3:
            raise KeyboardInterrupt
        count = sign(task)
        assert count == len(task.rows), "a count, and no pixels, goes from a worker to its parent"
        return count

    monkeypatch.setattr(build, "SIGNED_AT_ONCE", 20)
    monkeypatch.setattr(build, "sign", fail_at_third)
    with pytest.raises(KeyboardInterrupt):
        build.build(request(tmp_path, exports, params), tmp_path / "work", tmp_path / "out")
    kept = list((tmp_path / "work").glob("similar-*"))
    assert len(kept) == 2 and sum(path.stat().st_size for path in kept) <= 108 * sum(signed[:2])
    assert build.has_finished(tmp_path / "work")
    build.build(request(tmp_path, exports, params), tmp_path / "work", tmp_path / "out")
    assert sum(signed) - signed[2] == 71  # all but the two with no header; each once
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_shards_of_other_rows_are_built_again(
    tmp_path: Path, exports: dict[str, Path], small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished shard says from which rows: where those are others now, it is not taken."""
    some = dataclasses.replace(PARAMS, max_images=20)
    build.build(request(tmp_path, exports, some), tmp_path / "other", tmp_path / "whole")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(build, "_publish", interrupted)
        build.build(request(tmp_path, exports), tmp_path / "work", tmp_path / "out")
    build.build(request(tmp_path, exports, some), tmp_path / "work", tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_two_builds_in_one_directory(tmp_path: Path, exports: dict[str, Path]) -> None:
    """The second is refused with one line while the first is at work."""
    with work_places.locked(tmp_path / "work"), pytest.raises(UserError, match="another build is at work"):
        build.build(request(tmp_path, exports), tmp_path / "work", tmp_path / "out")


def test_nothing_to_keep_is_an_error(tmp_path: Path) -> None:
    """An export without one good image ends with a line, and publishes nothing."""
    export = write_lmdb(tmp_path / "cat", {b"a": b"text", b"b": b""})
    with pytest.raises(UserError, match="none of 2 images can be kept"):
        build.build(request(tmp_path, {"cat": export}), tmp_path / "work", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tar_is_plain(tmp_path: Path) -> None:
    """webdataset-readable, no clock in it, long names and payload offsets right."""
    import tarfile

    members = [("a.jpg", b"1" * 700), ("k" * 115 + ".jpg", b"2" * 512), ("b.jpg", b"")]
    index, size, digest = write_tar(tmp_path / "x.tar", iter(members))
    data = (tmp_path / "x.tar").read_bytes()
    assert (len(data), sha256_file(tmp_path / "x.tar")) == (size, digest)
    assert [(name, data[offset : offset + length]) for name, offset, length in index] == members
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert [(m.name, m.mtime, m.uid, m.uname, m.mode) for m in tar] == [(n, 0, 0, "", 0o444) for n, _ in members]


def test_opens_with_webdataset(tmp_path: Path, exports: dict[str, Path]) -> None:
    """The webdataset library reads the shards in the order of our index."""
    import webdataset

    build.build(request(tmp_path, exports), tmp_path / "work", tmp_path / "out")
    ours = ImageShards(tmp_path / "out", "train")
    urls = [str(tmp_path / "out" / shard.name) for shard in ours.shards]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == ours.keys
    assert np.array_equal(np.asarray(samples[0]["jpg"]), ours.images([0])[0])


def in_process(export: Path, out: Path, *more: str) -> str:
    """What `by_hand` starts, without another start of Python."""
    arguments = [str(export), str(out), "--width", "32", "--height", "24", *more]
    return images.by_hand(images.parser().parse_args(arguments))


def by_hand(export: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """`python -m pipeline.images EXPORT OUT ...` in an empty directory."""
    command = [sys.executable, "-m", "pipeline.images", str(export), str(out), "--width", "32", "--height", "24", *more]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        command, cwd=out.parent, text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_by_hand_without_params(tmp_path: Path, exports: dict[str, Path]) -> None:
    """Any LMDB, no params.yaml; only OUT is left behind; --limit reads the first entries."""
    (tmp_path / "here").mkdir()
    process = by_hand(exports["cat"], tmp_path / "here/out", "--limit", "20", "--workers", "1")
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert "20 read, 20 written" in out
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["out"]


def test_foreign_directory_is_not_replaced(tmp_path: Path, exports: dict[str, Path]) -> None:
    """A directory that no build made is left alone."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("")
    process = by_hand(exports["cat"], tmp_path / "out")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "holds no image shards" in error
    assert (tmp_path / "out/thesis.tex").exists()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("lsun/bedroom_val_lmdb", "bedroom-val"),
        ("lsun/church_outdoor_val_lmdb/data.mdb", "church-outdoor-val"),
        ("s3://bucket/lsun/bedroom_val_lmdb/", "bedroom-val"),
        ("lsun/bedroom_train_lmdb", "bedroom"),
        ("lsun/test_lmdb", "test"),
        ("lsun/train", "train"),
        ("lsun/cat", "cat"),
        ("lsun/bedroom_val.mdb", "bedroom-val"),
        ("lsun/bedroom_train.mdb", "bedroom"),
        ("s3://bucket/cat.mdb", "cat"),
        ("My Cats (2)/data.mdb", "my-cats--2"),
        ("lmdb", "lmdb"),
    ],
)
def test_names_of_exports_by_path(path: str, name: str) -> None:
    """The folders of the official archives are named as `textgan fetch` names what it unpacks."""
    assert images.export_name(Path(path)) == name


def test_official_val_by_hand_is_test(tmp_path: Path) -> None:
    """All of an archive's val folder, as unpacked, is the test split."""
    export = write_lmdb(tmp_path / "bedroom_val_lmdb", pictures(12))
    command = [sys.executable, "-m", "pipeline.images", str(export), str(tmp_path / "out"), "--width", "32"]
    subprocess.run([*command, "--height", "32", "--workers", "1"], check=True, capture_output=True)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert {split: part["images"] for split, part in manifest["splits"].items() if part["images"]} == {"test": 12}


def test_param_names_are_command_line_names() -> None:
    """The form by hand sets every images parameter."""
    arguments = vars(images.parser().parse_args(["e", "o", "--width", "8", "--height", "8"]))
    assert {field.name for field in dataclasses.fields(ImagesParams)} <= set(arguments)


STRANGE_KEYS = [b"../up", b"a.b", b"a/b", b"with space", "caf\u00e9".encode(), b"x" * 511, b"\xff\x01", b"-"]


def test_strange_keys(tmp_path: Path) -> None:
    """Keys with dots, slashes, spaces, foreign bytes and full length come back as images under safe names."""
    values = {key: encode(picture(40, 30, idx)) for idx, key in enumerate(STRANGE_KEYS)}
    export = write_lmdb(tmp_path / "cat", values)
    build.build(request(tmp_path, {"cat": export}), tmp_path / "work", tmp_path / "out")
    kept = [key for split in ("train", "select", "test") for key in ImageShards(tmp_path / "out", split).keys]
    assert sorted(kept) == sorted(sample_key("cat", key) for key in STRANGE_KEYS)
    assert {path.name for path in tmp_path.iterdir()} == {"cat", "inventory", "out"}
    import webdataset

    urls = sorted(str(path) for path in (tmp_path / "out").glob("*.tar"))
    found = [sample["__key__"] for sample in webdataset.WebDataset(urls, shardshuffle=False)]
    assert sorted(found) == sorted(kept)


def test_changed_export_is_noticed(tmp_path: Path) -> None:
    """An export that is not what was ingested ends with a line that says so."""
    export = write_lmdb(tmp_path / "cat", pictures(3))
    wanted = request(tmp_path, {"cat": export})
    (export / "data.mdb").unlink()
    write_lmdb(export, pictures(3, 7))
    with pytest.raises(UserError, match="run ingest again"):
        build.build(wanted, tmp_path / "work", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_space_left(tmp_path: Path, exports: dict[str, Path]) -> None:
    """A full disk in mid-shard: one line, nothing published; with room again the bytes are the usual ones."""
    code = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000));"
        "sys.argv[0] = 'images'; runpy.run_module('pipeline.images', run_name='__main__')"
    )
    arguments = [str(exports["cat"]), "out", "--width", "32", "--height", "24", "--workers", "1"]
    command = [sys.executable, "-c", code, *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    full = subprocess.run(command, cwd=tmp_path, text=True, env=environment, capture_output=True)
    assert full.returncode == 1
    assert full.stderr.strip().splitlines()[-1].startswith("error: ") and "File too large" in full.stderr
    assert not (tmp_path / "out").exists()
    in_process(exports["cat"], tmp_path / "out", "--workers", "1")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_killed_worker_is_replaced(tmp_path: Path) -> None:
    """A task whose worker was killed is done by another; one that always kills ends with a line."""
    tasks = [(tmp_path / "mark", number) for number in range(6)]
    with engines.opened(2) as run:
        assert sorted(run(die_once, tasks)) == list(range(6))
        assert sorted(run(abs, range(-3, 0))) == [1, 2, 3]  # the pool that took its place serves on
    with pytest.raises(UserError, match="killed 3 times"):
        with engines.opened(2) as run:
            list(run(die_always, [1]))


def test_workers_killed_between_runs_lose_no_task() -> None:
    """Whether the pool has noticed their death when it is given a task, or notices it afterwards."""
    for pause in (0.0, 0.5):
        with engines.opened(2) as run:
            for pid in set(run(own_pid, range(8))):
                os.kill(pid, signal.SIGKILL)
            time.sleep(pause)
            assert sorted(run(abs, range(-9, 0))) == list(range(1, 10))


def test_a_pool_that_breaks_while_a_task_is_made_loses_none() -> None:
    """Tasks are made while others run: one that was taken and not yet given is not forgotten."""
    with engines.opened(2) as run:
        pids = list(set(run(own_pid, range(8))))

        def tasks() -> Iterator[int]:
            for number in range(9):
                if number == 5:
                    for pid in pids:
                        os.kill(pid, signal.SIGKILL)
                    time.sleep(0.5)
                yield number

        assert sorted(run(abs, tasks())) == list(range(9))


def test_a_worker_killed_in_mid_shard_changes_nothing(
    tmp_path: Path, exports: dict[str, Path], small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shard is built by another, and the bytes are those of a build where nobody died."""
    build.build(request(tmp_path, exports), tmp_path / "work", tmp_path / "one")
    monkeypatch.setattr(build, "build_shard", die_in_mid_shard)
    build.build(request(tmp_path, exports, workers=2), tmp_path / "work", tmp_path / "two")
    assert (tmp_path / "mark").exists()
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_dask_gives_the_same_bytes(
    tmp_path: Path, exports: dict[str, Path], small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Dask cluster by its address gives what one process gives."""
    distributed = pytest.importorskip("distributed")
    build.build(request(tmp_path, exports), tmp_path / "work", tmp_path / "one")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        monkeypatch.setenv("TEXTGAN_DASK", cluster.scheduler_address)
        build.build(request(tmp_path, exports), tmp_path / "work", tmp_path / "dask")
    assert digests(tmp_path / "one") == digests(tmp_path / "dask")


def test_verify_names_what_is_wrong(tmp_path: Path, exports: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    """A changed byte, a missing shard and a foreign file are each named."""
    out = tmp_path / "out"
    build.build(request(tmp_path, exports), tmp_path / "work", out)
    verify(out)
    assert "as the manifest says" in capsys.readouterr().out
    damaged = bytearray((out / "train-00000.tar").read_bytes())
    damaged[5000] ^= 1
    (out / "train-00000.tar").write_bytes(damaged)
    (out / "test-00000.tar").unlink()
    (out / "notes.txt").write_text("")
    with pytest.raises(UserError, match="3 things are wrong"):
        verify(out)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "not in the manifest",
        "other bytes than the manifest's sha256",
        "missing",
    ]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("train-00000.tar", "../other/train-00000.tar", "names a shard '../other/train-00000.tar'; it must be train-0"),
        ('"train": {\n      "images": ', '"train": {\n      "images": 1', "images of train is 1[0-9]+; its shards"),
    ],
)
def test_verify_reads_the_manifest(
    tmp_path: Path, exports: dict[str, Path], capsys: pytest.CaptureFixture, before: str, after: str, line: str
) -> None:
    """A whole shard elsewhere is none of the directory's, and a split has as many images as its shards."""
    out = tmp_path / "out"
    build.build(request(tmp_path, exports), tmp_path / "work", out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/train-00000.tar").write_bytes((out / "train-00000.tar").read_bytes())
    text = (out / "manifest.json").read_text()
    (out / "manifest.json").write_text(text.replace(before, after))
    with pytest.raises(UserError, match="things are wrong"):
        verify(out)
    assert re.search(f"manifest.json: {line}", capsys.readouterr().out)


@pytest.mark.parametrize("name", ["index.parquet", "rejected.parquet"])
def test_verify_says_that_a_table_is_missing(
    tmp_path: Path, exports: dict[str, Path], capsys: pytest.CaptureFixture, name: str
) -> None:
    """A table beside the shards that is not there is named as what it is."""
    out = tmp_path / "out"
    build.build(request(tmp_path, exports), tmp_path / "work", out)
    (out / name).unlink()
    with pytest.raises(UserError, match="1 things are wrong"):
        verify(out)
    assert capsys.readouterr().out == f"{out / name}: missing\n"


def swapped(index: pd.DataFrame) -> pd.DataFrame:
    keys = index["sample_key"].to_list()
    return index.assign(sample_key=[keys[1], keys[0], *keys[2:]])


def shifted(index: pd.DataFrame) -> pd.DataFrame:
    return index.assign(offset=[*index["offset"][:-1], index["offset"].iloc[-1] + 512])


def other_size(index: pd.DataFrame) -> pd.DataFrame:
    return index.assign(bytes=index["bytes"] - (index.index == 3))


def other_shard(index: pd.DataFrame) -> pd.DataFrame:
    return index.assign(shard=index["shard"] + (index.index == 0))


def other_order(index: pd.DataFrame) -> pd.DataFrame:
    return index.iloc[[1, 0, *range(2, len(index))]]


def moved_split(index: pd.DataFrame) -> pd.DataFrame:
    return index.assign(split=["no-split", *index["split"][1:]])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (swapped, "where train-00000.tar has shard 0, .* more rows"),
        (shifted, "index.parquet: says shard 0, .* where test-00000.tar has shard 0"),
        (other_size, "where train-00000.tar has"),
        (other_shard, "says shard 1, .* where train-00000.tar has shard 0"),
        (other_order, "where train-00000.tar has"),
        (moved_split, "train rows, the manifest counts"),
        (lambda index: index.drop(columns="offset"), "index.parquet: cannot be read"),
    ],
)
def test_verify_reads_the_index_against_the_shards(
    tmp_path: Path, exports: dict[str, Path], capsys: pytest.CaptureFixture, change: Callable, line: str
) -> None:
    """An index that gives other bytes, names or places than the tar headers is wrong, and the row is named."""
    out = tmp_path / "out"
    build.build(request(tmp_path, exports), tmp_path / "work", out)
    index = pd.read_parquet(out / "index.parquet")
    change(index).to_parquet(out / "index.parquet", index=False)
    with pytest.raises(UserError, match="1 things are wrong"):
        verify(out)
    assert re.search(line, capsys.readouterr().out)


def test_verify_counts_reasons(tmp_path: Path, exports: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    """Rejected rows are counted reason by reason."""
    out = tmp_path / "out"
    build.build(request(tmp_path, exports), tmp_path / "work", out)
    rejected = pd.read_parquet(out / "rejected.parquet")
    rejected.assign(reason="empty").to_parquet(out / "rejected.parquet", index=False)
    with pytest.raises(UserError, match="1 things are wrong"):
        verify(out)
    assert "rejected.parquet: has {'empty': 3}, the manifest counts" in capsys.readouterr().out


def kill_at(tmp_path: Path, export: Path, delays: list[float | None]) -> None:
    """Kill builds after each delay (None: at the first finished shard), then let one finish: the bytes are the same."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    arguments = ("--workers", "2", "--shard-mb", "1", "--width", "128", "--height", "128")
    in_process(export, tmp_path / "a/out", *arguments)
    for delay in delays:
        process = by_hand(export, tmp_path / "b/out", *arguments)
        while delay is None and process.poll() is None and not list((tmp_path / "b").glob(".out.unfinished/*/*.json")):
            time.sleep(0.01)
        time.sleep(delay or 0)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    in_process(export, tmp_path / "b/out", *arguments)
    assert digests(tmp_path / "a/out") == digests(tmp_path / "b/out")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["out"]


def test_a_killed_build_goes_on(tmp_path: Path, exports: dict[str, Path]) -> None:
    """SIGKILL in the middle, small; the slow test does it at many moments."""
    kill_at(tmp_path, exports["cat"], [None])


@pytest.mark.slow
@pytest.mark.long
def test_killed_builds_lose_and_change_nothing(tmp_path: Path) -> None:
    """SIGKILL at 20 random moments of a build of many shards."""
    export = write_lmdb(tmp_path / "cat", {k: encode(picture(300, 260, i)) for i, k in enumerate(pictures(600))})
    seconds = np.random.default_rng(0).uniform(0.3, 6, 20)
    kill_at(tmp_path, export, seconds.tolist())


def test_inspect_counts(tmp_path: Path, exports: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    """Entries, formats and undecodable values of an export, and a sheet of 24 pictures."""
    inspect(str(exports["cat"]), sheet=tmp_path / "sheet.png", limit=None)
    text = capsys.readouterr().out
    assert "43 entries; looked at all" in text
    assert "undecodable  3 (empty 1, undecodable 1, unknown_format 1)" in text
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (960, 640)


def test_a_sheet_is_what_its_name_says(
    tmp_path: Path, exports: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PNG, JPEG or WebP by suffix; another name, a directory, no space are one line, the first two at once."""
    for name, kind in (("s.jpg", "JPEG"), ("s.webp", "WEBP"), ("s.PNG", "PNG")):
        inspect(str(exports["cat"]), sheet=tmp_path / name, limit=3)
        with Image.open(tmp_path / name) as sheet:
            assert sheet.format == kind
    for place in (tmp_path, tmp_path / "sheet.gif", tmp_path / "sheet"):
        with pytest.raises(UserError, match="must name a file that ends in .png"):
            inspect(str(tmp_path / "no export"), sheet=place, limit=None)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("textgan.files.os.fsync", full)
    with pytest.raises(UserError, match="full.png: cannot be written: No space left"):
        inspect(str(exports["cat"]), sheet=tmp_path / "full.png", limit=3)
