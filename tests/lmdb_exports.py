"""Small exports for tests: LMDBs made from given values, and pictures in any format."""

from __future__ import annotations

import io
from pathlib import Path

import lmdb
import numpy as np
from PIL import Image


def write_lmdb(path: Path, values: dict[bytes, bytes]) -> Path:
    """An LMDB directory as LSUN's tools write it, without the lock file."""
    path.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    (path / "lock.mdb").unlink()
    return path


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """uint8 [H,W,3]: smooth colour waves with some noise, so that codecs meet both."""
    random = np.random.default_rng(seed)
    x, y = np.linspace(0, 1, width)[None, :, None], np.linspace(0, 1, height)[:, None, None]
    waves = np.sin(6 * (x * random.uniform(0.5, 3, 3) + y * random.uniform(0.5, 3, 3) + random.uniform(0, 6, 3)))
    noise = random.normal(0, 6, (height, width, 3))
    return np.clip(127 + 90 * waves + noise, 0, 255).astype(np.uint8)


def encode(pixels: np.ndarray, file_format: str = "JPEG", **options: object) -> bytes:
    """Encoded bytes by Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def pictures(count: int, seed: int = 0) -> dict[bytes, bytes]:
    """A mixed export: JPEG, WebP and PNG values of varied sizes under LSUN-like keys."""
    values = {}
    for idx in range(count):
        file_format = ("JPEG", "WEBP", "PNG")[idx % 3]
        width, height = 40 + (idx * 7) % 50, 40 + (idx * 11) % 40
        values[f"{seed:04x}{idx:036x}".encode()] = encode(picture(width, height, seed * 1000 + idx), file_format)
    return values
