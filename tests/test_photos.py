"""The data stages on real photos: cats (WebP values) and cars (JPEG values), most of them small."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import build, ingest
from pipeline.exports import open_export
from pipeline.verify import verify
from textgan.dataset import ImageShards
from textgan.params import ImagesParams, IngestParams

ROOT = os.environ.get("TEXTGAN_LSUN_ROOT")
INGEST = IngestParams(seed=0, select=0.05, test=0.15, max_pixels=100_000_000)
KEPT = 300
"""Photos of each kind that are built; all of them are ingested."""


@pytest.fixture(scope="module")
def exports() -> dict[str, Path]:
    assert ROOT is not None
    return {kind: Path(ROOT, kind) for kind in ("cat", "car")}


@pytest.fixture(scope="module")
def inventory(exports: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both exports, ingested as a whole."""
    out = tmp_path_factory.mktemp("inventory")
    ingest.write_inventory(exports, INGEST, out)
    return out / "inventory.parquet"


@pytest.mark.photos
@pytest.mark.skipif(ROOT is None, reason="TEXTGAN_LSUN_ROOT is not set")
def test_every_photo_has_a_row(exports: dict[str, Path], inventory: Path) -> None:
    """One row for each entry, of the format that the kind has, in about the splits that were asked for."""
    rows = pd.read_parquet(inventory)
    counts = {kind: len(open_export(path)) for kind, path in exports.items()}
    assert dict(rows["export"].value_counts()) == counts
    assert set(rows[rows["status"] == "ok"].groupby("export")["format"].agg("first").items()) == {
        ("car", "jpeg"),
        ("cat", "webp"),
    }
    assert (rows["status"] == "ok").mean() > 0.99
    assert (rows["split"] == "test").mean() == pytest.approx(INGEST.test, abs=0.03)


@pytest.mark.photos
@pytest.mark.skipif(ROOT is None, reason="TEXTGAN_LSUN_ROOT is not set")
@pytest.mark.parametrize(("width", "height"), [(256, 256), (512, 384)])
def test_photos_become_shards(
    exports: dict[str, Path], inventory: Path, tmp_path: Path, width: int, height: int
) -> None:
    """Both kinds at both sizes: as many as were asked for, the rest with a reason, whole and of the size."""
    params = ImagesParams(
        width=width,
        height=height,
        geometry="center_crop",
        small="upscale",
        format="jpg",
        quality=95,
        shard_mb=8,
        max_images=KEPT,
        duplicates="exact",
    )
    request = build.Request(
        dataset="photos",
        inventory=inventory,
        exports=exports,
        params=params,
        seed=0,
        max_pixels=INGEST.max_pixels,
        workers=2,
    )
    out = tmp_path / "out"
    build.build(request, tmp_path / "work", out)
    verify(out)
    splits = [ImageShards(out, split) for split in ("train", "select", "test")]
    keys = [key for split in splits for key in split.keys]
    rejected = pd.read_parquet(out / "rejected.parquet")
    assert sum(key.startswith("cat-") for key in keys) == sum(key.startswith("car-") for key in keys) == KEPT
    assert sorted([*keys, *rejected["sample_key"]]) == sorted(pd.read_parquet(inventory)["sample_key"])
    images = splits[2].all()
    assert images.shape[1:] == (height, width, 3)
    assert np.ptp(images, axis=(1, 2, 3)).min() > 30  # no photo came out as one flat colour
