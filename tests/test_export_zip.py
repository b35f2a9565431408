"""StyleGAN's zip: every pixel, every key, the same bytes each time, and nothing half written."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import imaging
from pipeline.export_zip import Labels, Split, export_zip, png_stored
from textgan.errors import UserError
from textgan.files import sha256_file, write_json

SIDE = 16


def image_set(
    path: Path, width: int = SIDE, height: int = SIDE, kinds: tuple[str, ...] = ("car", "cat")
) -> dict[str, np.ndarray]:
    """A built set of lossless shards: 3 train shards, 1 test shard; returns pixels by sample key."""
    rng = np.random.default_rng(0)
    pixels: dict[str, np.ndarray] = {}
    path.mkdir(parents=True)
    splits: dict[str, Any] = {}
    for split, shards in (("train", 3), ("select", 0), ("test", 1)):
        entries = []
        for shard in range(shards):
            file = path / f"{split}-{shard:05d}.tar"
            with tarfile.open(file, "w") as tar:
                for index in range(4):
                    key = f"{kinds[index % len(kinds)]}-{split}~2f{shard}_{index}"
                    pixels[key] = rng.integers(0, 256, (height, width, 3), np.uint8)
                    payload = imaging.encode(pixels[key], "png", 95)
                    info = tarfile.TarInfo(f"{key}.png")
                    info.size = len(payload)
                    tar.addfile(info, io.BytesIO(payload))
            digest = sha256_file(file)
            entries.append({"name": file.name, "images": 4, "bytes": file.stat().st_size, "sha256": digest})
        splits[split] = {"images": 4 * shards, "shards": entries}
    manifest = {
        "format": 1,
        "dataset": "tiny",
        "width": width,
        "height": height,
        "geometry": "center_crop",
        "small": "upscale",
        "encoding": {"format": "png", "quality": 95},
        "read": 17,
        "written": 16,
        "upscaled": 0,
        "rejected": {"undecodable": 1},
        "splits": splits,
    }
    write_json(path / "manifest.json", manifest)
    return pixels


def export(directory: Path, out: Path, **options: Any) -> None:
    defaults = {"split": Split.train, "labels": Labels.none, "pairs": None, "allow_nonsquare": False}
    export_zip(directory, out, **(defaults | options))


def load_as_stylegan(path: Path) -> tuple[list[str], np.ndarray, Any]:
    """Names, pixels and labels by the rules of ImageFolderDataset: suffixes that Pillow knows, sorted, one shape."""
    Image.init()
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        names = sorted(name for name in members if Path(name).suffix.lower() in Image.EXTENSION)
        images = np.stack([np.array(Image.open(archive.open(name))) for name in names])
        labels = json.loads(archive.read("dataset.json"))["labels"]
    return names, images, labels if labels is None else np.array([dict(labels)[name] for name in names])


def key_map(path: Path) -> pd.DataFrame:
    with zipfile.ZipFile(path) as archive:
        return pd.read_csv(archive.open("keys.csv"), keep_default_na=False)


def test_stylegan_reads_every_pixel_and_no_key_is_lost(tmp_path: Path) -> None:
    """Images in shard order, numbered from 0, with null labels; keys.csv says whose each is."""
    pixels = image_set(tmp_path / "set")
    export(tmp_path / "set", tmp_path / "a" / "out.zip")
    names, images, labels = load_as_stylegan(tmp_path / "a/out.zip")
    keys = key_map(tmp_path / "a/out.zip")
    assert names[:2] == ["00000/img00000000.png", "00000/img00000001.png"] and len(names) == 12 and labels is None
    assert keys["name"].tolist() == names and set(keys["split"]) == {"train"}
    for name, key in zip(keys["name"], keys["sample_key"], strict=True):
        np.testing.assert_array_equal(images[names.index(name)], pixels[key])
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out.zip"]


def test_the_same_set_gives_the_same_bytes(tmp_path: Path) -> None:
    """No clock, name or place in the archive; neither images nor archive are compressed."""
    image_set(tmp_path / "set")
    for name in ("one.zip", "two.zip"):
        export(tmp_path / "set", tmp_path / name, labels=Labels.kind)
    assert sha256_file(tmp_path / "one.zip") == sha256_file(tmp_path / "two.zip")
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert all(
            member.file_size > SIDE * SIDE * 3 for member in archive.infolist() if member.filename.endswith("png")
        )
        assert archive.testzip() is None


def test_kind_labels_are_integers_from_zero(tmp_path: Path) -> None:
    """Labels follow the order of the kinds in textgan.facts.schema; about.json names them."""
    image_set(tmp_path / "set")
    export(tmp_path / "set", tmp_path / "out.zip", labels=Labels.kind)
    names, _, labels = load_as_stylegan(tmp_path / "out.zip")
    keys = key_map(tmp_path / "out.zip")
    assert labels.dtype.kind == "i" and labels.ndim == 1
    assert labels.tolist() == [["cat", "car"].index(key.split("-")[0]) for key in keys["sample_key"]]
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        about = json.loads(archive.read("about.json"))
    assert about["labels"] == [{"label": 0, "kind": "cat", "images": 6}, {"label": 1, "kind": "car", "images": 6}]


def test_kinds_can_come_from_pairs(tmp_path: Path) -> None:
    """With --pairs the facts decide, whatever the export is called; a missing kind is an error, not a guess."""
    pixels = image_set(tmp_path / "set", kinds=("photos",))
    with pytest.raises(UserError, match="names none or several of cat, car; give --pairs"):
        export(tmp_path / "set", tmp_path / "out.zip", labels=Labels.kind)
    keys = sorted(key for key in pixels if "train" in key)
    facts = [json.dumps({"kind": "car" if index % 3 else "cat"}) for index in range(len(keys))]
    (tmp_path / "pairs").mkdir()
    pd.DataFrame({"sample_key": keys, "facts": facts}).to_parquet(tmp_path / "pairs/train-00000.parquet")
    export(tmp_path / "set", tmp_path / "out.zip", labels=Labels.kind, pairs=tmp_path / "pairs")
    _, _, labels = load_as_stylegan(tmp_path / "out.zip")
    assert labels.tolist().count(0) == 4  # label 0 is cat
    pd.DataFrame({"sample_key": keys[1:], "facts": facts[1:]}).to_parquet(tmp_path / "pairs/train-00000.parquet")
    with pytest.raises(UserError, match=f"says no kind of {keys[0]}"):
        export(tmp_path / "set", tmp_path / "out.zip", labels=Labels.kind, pairs=tmp_path / "pairs")


def test_splits_can_be_chosen(tmp_path: Path) -> None:
    """train by default; test alone; all of them; an empty one is an error."""
    image_set(tmp_path / "set")
    for split, count in ((Split.test, 4), (Split.all, 16)):
        export(tmp_path / "set", tmp_path / "out.zip", split=split)
        assert len(load_as_stylegan(tmp_path / "out.zip")[0]) == count
    with pytest.raises(UserError, match="no images in select"):
        export(tmp_path / "set", tmp_path / "out.zip", split=Split.select)


def test_what_stylegan_refuses_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not square: an error unless asked for; no power of two: written, and said."""
    pixels = image_set(tmp_path / "wide", 24, 16)
    with pytest.raises(UserError, match="24x16; StyleGAN takes squares"):
        export(tmp_path / "wide", tmp_path / "out.zip")
    export(tmp_path / "wide", tmp_path / "out.zip", allow_nonsquare=True)
    _, images, _ = load_as_stylegan(tmp_path / "out.zip")
    np.testing.assert_array_equal(images[0], pixels[key_map(tmp_path / "out.zip")["sample_key"][0]])
    image_set(tmp_path / "odd", 12, 12)
    export(tmp_path / "odd", tmp_path / "odd.zip")
    assert "power of two, this set has 12" in capsys.readouterr().out


def test_damage_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    """A changed or missing shard, an impossible place: one line, the old file untouched, no half-written one."""
    image_set(tmp_path / "set")
    out = tmp_path / "out" / "out.zip"
    export(tmp_path / "set", out)
    before = sha256_file(out)
    shard = tmp_path / "set/train-00001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:600] + bytes([whole[600] ^ 1]) + whole[601:])
    with pytest.raises(UserError, match="train-00001.tar: its size or sha256"):
        export(tmp_path / "set", out)
    shard.unlink()
    with pytest.raises(UserError, match="train-00001.tar: no such file"):
        export(tmp_path / "set", out)
    assert sha256_file(out) == before and [path.name for path in out.parent.iterdir()] == ["out.zip"]
    for place, message in ((tmp_path / "out", "must end in .zip"), (tmp_path / "none.zip", "manifest.json")):
        with pytest.raises(UserError, match=message):
            export(tmp_path / "nothing", place)


@pytest.mark.parametrize("size", [(1, 1), (256, 256), (7, 5000), (3000, 3)])
def test_png_stored_is_a_png(size: tuple[int, int]) -> None:
    """Pillow reads back the pixels, for one stored block and for many."""
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    with Image.open(io.BytesIO(png_stored(pixels))) as image:
        image.verify()
    with Image.open(io.BytesIO(png_stored(pixels))) as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pixels)
