"""Image shards: nothing lost, the same bytes however they are built, readable without our code."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import build, images, ingest
from pipeline.shards import write_tar
from tests.lmdb_exports import encode, picture, pictures, write_lmdb
from textgan.dataset import ImageShards
from textgan.errors import UserError
from textgan.files import sha256_file
from textgan.params import ImagesParams, IngestParams

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
    monkeypatch.setattr(build, "_images_per_shard", lambda request, job, selection: 7)


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
    assert rejected.values.tolist() == [["cat-c", "duplicate", "the bytes of cat-a"]]


def test_two_builds_in_one_directory(tmp_path: Path, exports: dict[str, Path]) -> None:
    """The second is refused with one line while the first is at work."""
    with build.locked(tmp_path / "work"), pytest.raises(UserError, match="another build is at work"):
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


def test_param_names_are_command_line_names() -> None:
    """The form by hand sets every images parameter."""
    arguments = vars(images.parser().parse_args(["e", "o", "--width", "8", "--height", "8"]))
    assert {field.name for field in dataclasses.fields(ImagesParams)} <= set(arguments)


def kill_at(tmp_path: Path, export: Path, delays: list[float]) -> None:
    """Kill builds after each delay, then let one finish: the bytes are those of a build that was not killed."""
    whole = by_hand(export, tmp_path / "whole", "--workers", "2", "--shard-mb", "1")
    assert whole.wait(timeout=300) == 0
    for delay in delays:
        process = by_hand(export, tmp_path / "out", "--workers", "2", "--shard-mb", "1")
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = by_hand(export, tmp_path / "out", "--workers", "2", "--shard-mb", "1")
    assert last.wait(timeout=300) == 0
    a, b = digests(tmp_path / "whole"), digests(tmp_path / "out")
    a.pop("manifest.json"), b.pop("manifest.json")  # it names the dataset, which by hand is the directory
    assert a == b


def test_killed_builds_lose_and_change_nothing(tmp_path: Path, exports: dict[str, Path]) -> None:
    """SIGKILL early and late, small; the slow test does it at many moments."""
    kill_at(tmp_path, exports["cat"], [1.0, 2.2])
