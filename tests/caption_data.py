"""A tiny data/images/D and data/inventory/D for the tests of captions and pairs."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from textgan.params import CaptionsParams

PARAMS = CaptionsParams(
    captioner="annotations", order=[], missing="fallback", seed=0, per_image=3, measured={"cat": {}, "car": {}}
)
COLOURS = ("red", "blue", "green")


def _jpeg(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), shade, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def make_dataset(root: Path, images: int = 5, note: bool = True) -> tuple[Path, Path]:
    """A tiny data/images/D and data/inventory/D, of `images` images in each split."""
    tars, inventory = root / "images", root / "inventory"
    tars.mkdir(parents=True)
    inventory.mkdir(parents=True)
    rows, notes, splits = [], [], {}
    for split in ("train", "select", "test"):
        keys = [f"cat-{split}{idx}" for idx in range(images)]
        with tarfile.open(tars / f"{split}-00000.tar", "w") as tar:
            for idx, key in enumerate(keys):
                payload = _jpeg(40 * idx)
                info = tarfile.TarInfo(f"{key}.jpg")
                info.size = len(payload)
                tar.addfile(info, io.BytesIO(payload))
        splits[split] = {"images": images, "shards": [{"name": f"{split}-00000.tar", "images": images}]}
        rows += [{"sample_key": key, "export": "cat", "lmdb_key": key[4:].encode()} for key in keys]
        notes += [
            {"sample_key": key, "annotation": json.dumps({"key": key[4:], "facts": {"colour": COLOURS[idx % 3]}})}
            for idx, key in enumerate(keys)
        ]
    (tars / "manifest.json").write_text(json.dumps({"splits": splits}))
    pd.DataFrame(rows).to_parquet(inventory / "inventory.parquet", index=False)
    frame = pd.DataFrame(notes if note else [], columns=["sample_key", "annotation"], dtype=str)
    frame.to_parquet(inventory / "annotations.parquet", index=False)
    return tars, inventory
