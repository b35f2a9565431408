"""Images that do not fit in memory: the same training, in bounded memory, with damage named or counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny_training import settings, write_data
from textgan import streaming
from textgan import train as stage
from textgan.dataset import ImageShards
from textgan.errors import UserError
from textgan.streaming import ImageStream, data_bytes
from textgan.training_data import load_split

IMAGE_BYTES = 3 * 32 * 32


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with data in it."""
    monkeypatch.chdir(tmp_path)
    return write_data(Path())


@pytest.fixture
def streamed(monkeypatch):
    """No split fits: three batches of eight may wait."""
    monkeypatch.setattr(streaming, "data_bytes", lambda: 3 * 8 * IMAGE_BYTES)


def test_a_training_from_shards_ends_in_the_same_bytes(place, monkeypatch):
    """In memory or read as needed; D augments, so that no features are kept."""
    one_thread = torch.get_num_threads()
    torch.set_num_threads(1)
    for out, limit in (("memory", 1 << 30), ("stream", 20 * IMAGE_BYTES)):
        monkeypatch.setattr(streaming, "data_bytes", lambda limit=limit: limit)
        stage.train("tiny", settings(total_kimg=0.032, augment="translate"), *place, Path(out), Path("runs"))
    torch.set_num_threads(one_thread)
    files = sorted(path.name for path in Path("memory").iterdir())
    assert [(Path("memory") / name).read_bytes() for name in files] == [
        (Path("stream") / name).read_bytes() for name in files
    ]


def test_a_stream_gives_what_memory_gives(place, streamed, monkeypatch):
    """Pixels and layout; only what fits is read ahead, and each image once."""
    stream = load_split(*place, "train", 16)
    assert isinstance(stream.images, ImageStream) and len(stream) == 60
    monkeypatch.setattr(streaming, "data_bytes", lambda: 1 << 30)
    memory = load_split(*place, "train", 16)
    reads: list[int] = []
    read = stream.images.read

    def counted(positions):
        reads.extend(positions.tolist())
        return read(positions)

    stream.images.read = counted
    for cur_nimg in range(0, 120, 8):
        batch = stream.batch(0, cur_nimg, 8, 1)
        assert len(stream.images.coming) <= 3
        pixels = stream.images[batch.index]
        assert torch.equal(pixels, memory.images[batch.index]) and pixels.is_contiguous()
    assert sorted(reads[:60]) == list(range(60))
    assert len(reads) <= 120 + 3 * 8


def test_nothing_is_read_for_a_training_that_keeps_features(place, streamed):
    """Batches that no one asked for are not read on."""
    data = load_split(*place, "train", 16)
    data.batch(0, 0, 8, 1)
    first = set(data.images.coming)
    data.batch(0, 8, 8, 1)
    data.batch(0, 16, 8, 1)
    assert set(data.images.coming) == first


def test_a_process_reads_its_part_alone(place, streamed):
    """What is expected is what this process will ask for."""
    data = load_split(*place, "train", 16)
    data.part = slice(4, 8)
    index = data.batch(0, 0, 8, 1).index[data.part]
    assert index.numpy().tobytes() in data.images.coming


@pytest.mark.parametrize("at_once", [0, 2])
def test_as_many_batches_are_read_ahead_whether_they_are_cut_or_not(place, monkeypatch, at_once):
    """Depth is counted in batches, not in what is asked for at a time; memory would hold more."""
    monkeypatch.setattr(streaming, "data_bytes", lambda: 59 * IMAGE_BYTES)
    data = load_split(*place, "train", 16)
    assert isinstance(data.images, ImageStream)
    data.part, data.at_once = slice(0, 4), at_once
    data.batch(0, 0, 4, 1)
    ahead = np.concatenate([np.frombuffer(name, np.int64) for name in data.images.coming])
    assert ahead.tolist() == data.order(0, 0, 4 * streaming.DEPTH).tolist()


def damage(images: Path) -> str:
    """Spoil one train image; returns its key."""
    shards = ImageShards(images, "train")
    start = int(shards._offset[7])
    content = bytearray((images / "train-00000.tar").read_bytes())
    content[start : start + 40] = bytes(40)
    (images / "train-00000.tar").write_bytes(content)
    return shards.keys[7]


@pytest.mark.parametrize("fits", [True, False])
def test_a_damaged_image_is_named(place, request, fits):
    """In memory at the start, from shards in the middle of an epoch."""
    key = damage(place[0])
    if fits:
        with pytest.raises(UserError, match=f"train-00000.tar: {key} cannot be read"):
            load_split(*place, "train", 16)
        return
    request.getfixturevalue("streamed")
    data = load_split(*place, "train", 16)
    with pytest.raises(UserError, match=f"train-00000.tar: {key} cannot be read"):
        for cur_nimg in range(0, 60, 6):
            _ = data.images[data.batch(0, cur_nimg, 6, 1).index]


@pytest.mark.parametrize("fits", [True, False])
def test_a_damaged_image_is_left_out_where_the_parameter_says_so(place, request, fits):
    """Its captions and facts go with it, and it is counted."""
    whole = load_split(*place, "train", 16)
    key = damage(place[0])
    if not fits:
        request.getfixturevalue("streamed")
    data = load_split(*place, "train", 16, "skip")
    assert len(data) == 59 and len(data.skipped) == 1 and key in data.skipped[0]
    kept = [idx for idx in range(60) if idx != 7]
    assert list(data.captions) == [whole.captions[idx] for idx in kept]
    assert list(data.says_all) == [whole.says_all[idx] for idx in kept]
    assert torch.equal(data.facts, whole.facts[kept])
    assert torch.equal(data.images[torch.tensor([6, 7])], whole.images[[6, 8]])


def test_the_snapshot_counts_what_was_left_out(place):
    """Beside the weights."""
    damage(place[0])
    stage.train("tiny", settings(total_kimg=0.016, damaged="skip"), *place, Path("out"), Path("runs"))
    assert json.loads(Path("out/snapshot.json").read_text())["skipped_images"] == 1


@pytest.mark.parametrize("text", ["many", "0", "-1"])
def test_a_limit_that_is_none_is_refused(monkeypatch, text):
    """The message shows variable and value."""
    monkeypatch.setenv("TEXTGAN_DATA_MB", text)
    with pytest.raises(UserError, match=f"TEXTGAN_DATA_MB is '{text}'"):
        data_bytes()


def test_hard_mismatches_of_many_images_are_looked_for_among_some(place, monkeypatch):
    """A seeded draw bounds the work; what is found still contradicts the image."""
    data = load_split(*place, "train", 16)
    monkeypatch.setattr("textgan.training_data.CANDIDATES", 24)
    batch = data.batch(0, 16, 8, hard=3)
    again = data.batch(0, 16, 8, hard=3)
    assert torch.equal(batch.token_ids, again.token_ids)
    for image in range(8):
        assert batch.wrong[image, 8 + 3 * image : 8 + 3 * image + 3].all()


def test_a_composed_batch_is_the_batch(place):
    """A background thread makes the next batch; a jump to another place finds the right one."""
    from concurrent.futures import ThreadPoolExecutor

    plain, ahead = load_split(*place, "train", 16), load_split(*place, "train", 16)
    ahead.composer = ThreadPoolExecutor(1)
    for cur_nimg in (0, 8, 16, 64, 72, 0):
        one, two = plain.batch(3, cur_nimg, 8, 2), ahead.batch(3, cur_nimg, 8, 2)
        assert torch.equal(one.token_ids, two.token_ids) and torch.equal(one.wrong, two.wrong)
    assert np.array_equal(plain.order(3, 50, 80).numpy(), ahead.order(3, 50, 80).numpy())
