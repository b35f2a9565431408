"""Reading shards and pairs: exact epochs, resuming, forks, damage."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import imaging
from pipeline.shards import write_tar
from tests.lmdb_exports import picture
from textgan import dataset
from textgan.dataset import ImageShards, Pairs, batches, order
from textgan.errors import UserError
from textgan.files import write_json


def shard_directory(path: Path, counts: dict[str, list[int]], size: tuple[int, int] = (16, 12)) -> Path:
    """Image shards of given lengths, without a stored index; the manifest says 16x12 whatever their `size`."""
    path.mkdir()
    splits, seed = {}, 0
    for split, lengths in counts.items():
        shards = []
        for number, length in enumerate(lengths):
            members = []
            for _ in range(length):
                seed += 1
                members.append((f"cat-{seed:03d}.jpg", imaging.encode(picture(*size, seed), "jpg", 95)))
            name = f"{split}-{number:05d}.tar"
            _, total_bytes, digest = write_tar(path / name, members)
            shards.append({"name": name, "images": length, "bytes": total_bytes, "sha256": digest})
        splits[split] = {"images": sum(lengths), "shards": shards}
    total = sum(map(sum, counts.values()))
    manifest = {"format": 1, "dataset": "d", "width": 16, "height": 12, "geometry": "center_crop", "small": "upscale"}
    manifest |= {"encoding": {"format": "jpg", "quality": 95}, "read": total, "written": total, "upscaled": 0}
    write_json(path / "manifest.json", manifest | {"rejected": {}, "splits": splits})
    return path


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three splits, one of them empty."""
    return shard_directory(tmp_path / "images", {"train": [5, 4, 4], "select": [], "test": [2]})


def test_images_by_position(shards: Path) -> None:
    """Positions run over the shards in order; pixels are uint8 NHWC."""
    train = ImageShards(shards, "train")
    assert len(train) == 13 and train.keys[5] == "cat-006"
    images = train.images([12, 0, 5])
    assert images.shape == (3, 12, 16, 3) and images.dtype == np.uint8
    assert np.array_equal(train.all()[[12, 0, 5]], images)
    assert len(ImageShards(shards, "select").all()) == 0
    assert ImageShards(shards, "test").keys == ["cat-014", "cat-015"]


def test_pillow_gives_the_same_pixels(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where simplejpeg is absent, Pillow decodes to the same bytes."""
    expected = ImageShards(shards, "train").all()
    monkeypatch.setattr(dataset, "simplejpeg", None)
    assert np.array_equal(ImageShards(shards, "train").all(), expected)


def first_images(shards: ImageShards, results: multiprocessing.Queue) -> None:
    """Runs in another process."""
    results.put(shards.images([0, 7]))


def test_other_processes_read_too(shards: Path) -> None:
    """A reader that was used here works after a fork and when sent to a fresh process."""
    train = ImageShards(shards, "train")
    expected = train.images([0, 7])
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        results = context.Queue()
        process = context.Process(target=first_images, args=(train, results))
        process.start()
        assert np.array_equal(results.get(timeout=60), expected)
        process.join()


def test_damage_is_named(shards: Path) -> None:
    """A short shard, a broken image and a wrong count are one line with the file's name."""
    data = bytearray((shards / "train-00001.tar").read_bytes())
    (shards / "train-00001.tar").write_bytes(data[:-1])
    with pytest.raises(UserError, match="train-00001.tar: has"):
        ImageShards(shards, "train").images([6])
    data[512:600] = bytes(88)
    (shards / "train-00001.tar").write_bytes(data)
    with pytest.raises(UserError, match="train-00001.tar: cat-006 cannot be read"):
        ImageShards(shards, "train").images([5])
    text = (shards / "manifest.json").read_text()
    (shards / "manifest.json").write_text(text.replace('"written": 15', '"written": 14'))
    with pytest.raises(UserError, match="manifest.json: read is 15; it must be written . rejected"):
        ImageShards(shards, "train")
    with pytest.raises(UserError, match="no such file"):
        ImageShards(shards / "nowhere", "train")


@given(st.integers(1, 40), st.integers(0, 5), st.integers(1, 4), st.integers(0, 200))
def test_each_key_once_per_epoch(num_images: int, seed: int, world: int, start: int) -> None:
    """Over all ranks each position comes once an epoch; starting at a count equals going on from it."""
    epochs = 3
    ranks = [order(num_images, seed, 0, rank, world) for rank in range(world)]
    seen = [next(ranks[idx % world]) for idx in range(num_images * epochs)]
    for epoch in range(epochs):
        assert sorted(seen[epoch * num_images : (epoch + 1) * num_images]) == list(range(num_images))
    whole = order(num_images, seed)
    for _ in range(start):
        next(whole)
    resumed = order(num_images, seed, start)
    assert [next(whole) for _ in range(10)] == [next(resumed) for _ in range(10)]


def test_epochs_and_seeds_differ() -> None:
    """Another seed or epoch is another order."""
    orders = [[next(o) for _ in range(50)] for o in (order(50, 0), order(50, 1), order(50, 0, 50))]
    assert len({tuple(o) for o in orders}) == 3


@pytest.mark.parametrize("workers", [0, 1, 2, 9])
def test_batches_are_those_of_the_order(shards: Path, workers: int) -> None:
    """Whatever the workers: the images of `order`, of one rank, from a count to a count; the last batch is short."""
    train = ImageShards(shards, "train")
    for rank in (0, 1):
        positions = order(len(train), 3, 5, rank, 2)
        expected = train.images([next(positions) for _ in range(len(range(5 + rank, 30, 2)))])
        found = list(batches(train, 4, 3, start_nimg=5, end_nimg=30, rank=rank, world=2, workers=workers))
        assert [len(part) for part in found[:-1]] == [4] * (len(found) - 1)
        assert np.array_equal(np.concatenate(found), expected)
    endless = batches(train, 4, 3, workers=workers)
    assert all(len(next(endless)) == 4 for _ in range(20))
    endless.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_of_another_size_is_named(tmp_path: Path, workers: int) -> None:
    """Larger, smaller, and smaller than a pixel's broadcast: each is one line with the shard and the key."""
    for number, (width, height) in enumerate([(17, 12), (16, 11), (1, 1)]):
        place = shard_directory(tmp_path / str(number), {"train": [2], "select": [], "test": []}, (width, height))
        with pytest.raises(UserError, match="train-00000.tar: cat-00. cannot be read"):
            list(batches(ImageShards(place, "train"), 2, 0, end_nimg=2, workers=workers))


def test_pairs_must_match_images(shards: Path, tmp_path: Path) -> None:
    """The same keys in the same order pass; another order is named by its row."""
    train = ImageShards(shards, "train")
    (tmp_path / "pairs").mkdir()
    frame = pd.DataFrame({"sample_key": train.keys, "captions": [["a cat"]] * len(train)})
    frame[:5].to_parquet(tmp_path / "pairs/train-00000.parquet")
    frame[5:].to_parquet(tmp_path / "pairs/train-00001.parquet")
    pairs = Pairs(tmp_path / "pairs", "train")
    pairs.check_aligned(train)
    assert pairs.column("captions")[0] == ["a cat"]
    frame[5:][::-1].to_parquet(tmp_path / "pairs/train-00001.parquet")
    with pytest.raises(UserError, match="row 5 is cat-013"):
        Pairs(tmp_path / "pairs", "train").check_aligned(train)
    with pytest.raises(UserError, match="no test-"):
        Pairs(tmp_path / "pairs", "test")
